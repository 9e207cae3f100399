// Runs a syntax tree.
#ifndef TIDAL_SERVER_TEXT_JINJA_INTERPRETER_H_
#define TIDAL_SERVER_TEXT_JINJA_INTERPRETER_H_

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "server/text/jinja/ast.h"
#include "server/text/jinja/runtime.h"

namespace tidal::jinja {

// One rendering. `variables` is what the template starts with.
absl::StatusOr<std::string> Render(const Block& block, const Dict& variables, const Limits& limits,
                                   std::chrono::system_clock::time_point now);

// Names and their values; a lookup goes outwards. {% if %} has none of its own.
struct Scope {
  explicit Scope(std::shared_ptr<Scope> outer_scope) : outer(std::move(outer_scope)) {}
  std::shared_ptr<Scope> outer;
  std::unordered_map<std::string, Value> variables;
};
using ScopePtr = std::shared_ptr<Scope>;

class Interpreter : public Runtime {
 public:
  Interpreter(const Limits& limits, std::chrono::system_clock::time_point now)
      : Runtime(limits, now) {}
  ~Interpreter() override;

  absl::StatusOr<std::string> Run(const Block& block, const Dict& variables);

  // attributes.cc
  Value GetAttribute(const Value& value, const std::string& name) override;
  Value GetItem(const Value& value, const Value& key) override;
  // interpreter.cc
  Value Call(const Value& callee, const Arguments& arguments) override;
  Value ApplyFilter(const std::string& name, const Value& value, const Arguments& args) override;
  bool ApplyTest(const std::string& name, const Value& value, const Arguments& args) override;

 private:
  enum class Flow { kNext, kBreak, kContinue };
  class Depth;
  class Enter;
  struct LoopRun;

  // interpreter.cc: statements.
  Flow Execute(const Block& block);
  Flow ExecuteOne(const Stmt& stmt);
  Flow ExecuteScoped(const Block& block);
  void ExecuteSet(const Stmt& stmt);
  void ExecuteWith(const Stmt& stmt);
  // What `block` writes, as a string; with variables of its own.
  std::string Capture(const Block& block);
  void Assign(const Expr& target, const Value& value);
  void Write(std::string_view text);

  // loops.cc
  Flow ExecuteFor(const Stmt& stmt);
  void RunLoop(const Stmt& stmt, const Value& iterable, int depth0, const FunctionPtr& recurse);
  std::vector<Value> FilterItems(const Stmt& stmt, std::vector<Value> items);

  // macros.cc
  Value MakeMacro(const Stmt& stmt, const std::string& name);
  Value CallMacro(const Stmt& stmt, const std::string& name, const ScopePtr& scope,
                  const Arguments& arguments);
  void BindParameters(const Stmt& stmt, const std::string& name, const Arguments& arguments);
  void ExecuteCallBlock(const Stmt& stmt);

  // evaluate.cc: expressions.
  Value Evaluate(const Expr& expr);
  Value EvaluateHere(const Expr& expr);
  Value EvaluateUnary(const Expr& expr);
  Value EvaluateBinary(const Expr& expr);
  Value EvaluateCompare(const Expr& expr);
  bool CompareOnce(const std::string& op, const Value& a, const Value& b);
  Value EvaluateConcat(const Expr& expr);
  Value EvaluateCondition(const Expr& expr);
  Value EvaluateDict(const Expr& expr);
  Value EvaluateItem(const Expr& expr);
  // `input` goes in where the chain of filters begins.
  Value EvaluateFilters(const Expr& expr, const Value* input);
  Value Slice(const Value& value, const Expr& slice);
  Value LookUp(const std::string& name);
  std::vector<Value> EvaluateAll(const std::vector<ExprPtr>& exprs);
  Arguments EvaluateArguments(const ArgumentList& list);

  std::string Where() const override;

  ScopePtr scope_;
  std::vector<ScopePtr> captured_;  // by macros, which they may hold: emptied at the end
  std::string* out_ = nullptr;
  Position at_;
  int depth_ = 0;
};

// Counts one level of calls and nested expressions while it lives.
class Interpreter::Depth {
 public:
  explicit Depth(Interpreter* interpreter) : interpreter_(interpreter) {
    if (++interpreter_->depth_ > interpreter_->limits_.depth) {
      interpreter_->Exhausted("nested too deeply");
    }
  }
  ~Depth() { --interpreter_->depth_; }
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;

 private:
  Interpreter* interpreter_;
};

// A new scope within `outer` while it lives.
class Interpreter::Enter {
 public:
  Enter(Interpreter* interpreter, ScopePtr outer)
      : interpreter_(interpreter), before_(interpreter->scope_) {
    interpreter_->scope_ = std::make_shared<Scope>(std::move(outer));
  }
  ~Enter() { interpreter_->scope_ = before_; }
  Enter(const Enter&) = delete;
  Enter& operator=(const Enter&) = delete;

 private:
  Interpreter* interpreter_;
  ScopePtr before_;
};

}  // namespace tidal::jinja

#endif  // TIDAL_SERVER_TEXT_JINJA_INTERPRETER_H_
