#include "server/text/jinja/interpreter.h"

#include <utility>

#include "server/text/concat.h"
#include "server/text/jinja/builtins.h"
#include "server/text/jinja/lexer.h"
#include "server/text/jinja/operators.h"

namespace tidal::jinja {

absl::StatusOr<std::string> Render(const Block& block, const Dict& variables, const Limits& limits,
                                   std::chrono::system_clock::time_point now) {
  return Interpreter(limits, now).Run(block, variables);
}

Interpreter::~Interpreter() {
  // Macros and namespaces may hold the scope they live in.
  for (const ScopePtr& scope : captured_) scope->variables.clear();
  ReleaseNamespaces();
}

absl::StatusOr<std::string> Interpreter::Run(const Block& block, const Dict& variables) {
  std::string text;
  out_ = &text;
  const auto given = std::make_shared<Scope>(nullptr);
  for (const auto& [name, value] : variables.entries()) {
    given->variables.insert_or_assign(name.string(), value);
  }
  scope_ = std::make_shared<Scope>(given);
  Execute(block);
  if (failed()) return status();
  return text;
}

std::string Interpreter::Where() const { return DescribePosition(at_); }

void Interpreter::Write(std::string_view text) {
  out_->append(text);
  if (static_cast<int64_t>(out_->size()) > limits_.output_bytes) {
    Exhausted(Concat("a text of more than ", limits_.output_bytes, " bytes"));
  }
}

Interpreter::Flow Interpreter::Execute(const Block& block) {
  const Depth depth(this);
  for (const StmtPtr& stmt : block) {
    if (failed()) break;
    at_ = stmt->at;
    Step();
    const Flow flow = ExecuteOne(*stmt);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::ExecuteOne(const Stmt& stmt) {
  switch (stmt.kind) {
    case Stmt::kText:
      Write(stmt.name);
      break;
    case Stmt::kOutput:
      Write(ToText(this, Evaluate(*stmt.expr)));
      break;
    case Stmt::kIf:
      return Execute(Evaluate(*stmt.expr).Truth() ? stmt.body : stmt.otherwise);
    case Stmt::kFor:
      return ExecuteFor(stmt);
    case Stmt::kSet:
    case Stmt::kSetBlock:
      ExecuteSet(stmt);
      break;
    case Stmt::kMacro:
      scope_->variables.insert_or_assign(stmt.name, MakeMacro(stmt, stmt.name));
      break;
    case Stmt::kCallBlock:
      ExecuteCallBlock(stmt);
      break;
    case Stmt::kFilterBlock: {
      const Value body = MakeString(Capture(stmt.body));
      Write(ToText(this, EvaluateFilters(*stmt.expr, &body)));
      break;
    }
    case Stmt::kWith:
      ExecuteWith(stmt);
      break;
    case Stmt::kScope:
      return ExecuteScoped(stmt.body);
    case Stmt::kBreak:
      return Flow::kBreak;
    case Stmt::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::ExecuteScoped(const Block& block) {
  const Enter enter(this, scope_);
  return Execute(block);
}

void Interpreter::ExecuteSet(const Stmt& stmt) {
  if (stmt.kind == Stmt::kSet) return Assign(*stmt.target, Evaluate(*stmt.expr));
  Value text = MakeString(Capture(stmt.body));
  if (stmt.expr != nullptr) text = EvaluateFilters(*stmt.expr, &text);
  Assign(*stmt.target, text);
}

void Interpreter::ExecuteWith(const Stmt& stmt) {
  const std::vector<Value> values = EvaluateAll(stmt.values);  // outside the new scope
  const Enter enter(this, scope_);
  for (size_t i = 0; i < values.size() && i < stmt.targets.size(); ++i) {
    Assign(*stmt.targets[i], values[i]);
  }
  Execute(stmt.body);
}

std::string Interpreter::Capture(const Block& block) {
  std::string text;
  std::string* const before = std::exchange(out_, &text);
  ExecuteScoped(block);
  out_ = before;
  return text;
}

void Interpreter::Assign(const Expr& target, const Value& value) {
  if (failed()) return;
  if (target.kind == Expr::kName) {
    scope_->variables.insert_or_assign(target.name, value);
  } else if (target.kind == Expr::kAttribute) {
    const Value space = LookUp(target.items[0]->name);
    if (!space.is_namespace()) {
      Fail("cannot assign attribute on non-namespace object");
    } else {
      space.name_space()->attributes.SetName(target.name, value);
    }
  } else {
    const std::vector<Value> values = Iterate(value);
    if (failed()) return;
    if (values.size() != target.items.size()) {
      Fail(Concat("expected ", target.items.size(), " values to unpack, got ", values.size()));
      return;
    }
    for (size_t i = 0; i < values.size(); ++i) Assign(*target.items[i], values[i]);
  }
}

Value Interpreter::Call(const Value& callee, const Arguments& arguments) {
  const Depth depth(this);
  if (failed()) return Value();
  FailIfUndefined(callee);
  if (callee.is_loop() && callee.loop().recurse != nullptr) {
    return callee.loop().recurse->call(this, arguments);
  }
  if (!callee.is_function()) return Fail(Concat("'", TypeName(callee), "' object is not callable"));
  return callee.function()->call(this, arguments);
}

Value Interpreter::ApplyFilter(const std::string& name, const Value& value,
                               const Arguments& arguments) {
  const Depth depth(this);
  if (failed()) return Value();
  const FilterFn filter = FindFilter(name);
  return filter == nullptr ? Fail(Concat("No filter named '", name, "'."))
                           : filter(this, value, arguments);
}

bool Interpreter::ApplyTest(const std::string& name, const Value& value,
                            const Arguments& arguments) {
  if (failed()) return false;
  const TestFn test = FindTest(name);
  if (test != nullptr) return test(this, value, arguments);
  Fail(Concat("No test named '", name, "'."));
  return false;
}

}  // namespace tidal::jinja
