#include <utility>

#include "server/text/jinja/interpreter.h"

namespace tidal::jinja {

Interpreter::Flow Interpreter::ExecuteFor(const Stmt& stmt) {
  const Value iterable = Evaluate(*stmt.expr);
  if (!stmt.recursive) {
    RunLoop(stmt, iterable, /*depth0=*/0, nullptr);
    return Flow::kNext;
  }
  // loop(...) runs the same loop over something else and gives what that writes. The function
  // holds itself only weakly; the loop state of the iteration that calls it keeps it alive.
  struct Recursion {
    int depth0 = 0;
    std::weak_ptr<const Function> self;
  };
  const auto recursion = std::make_shared<Recursion>();
  const ScopePtr scope = scope_;
  const auto function = std::make_shared<Function>();
  function->name = "loop";
  function->call = [this, &stmt, recursion, scope](Runtime*, const Arguments& arguments) {
    if (arguments.positional.size() != 1) return Fail("loop() takes one value");
    std::string text;
    std::string* const out = std::exchange(out_, &text);
    const ScopePtr before = std::exchange(scope_, scope);
    ++recursion->depth0;
    RunLoop(stmt, arguments.positional[0], recursion->depth0, recursion->self.lock());
    --recursion->depth0;
    scope_ = before;
    out_ = out;
    return MakeString(std::move(text));
  };
  recursion->self = function;
  RunLoop(stmt, iterable, /*depth0=*/0, function);
  return Flow::kNext;
}

std::vector<Value> Interpreter::FilterItems(const Stmt& stmt, std::vector<Value> items) {
  if (stmt.condition == nullptr) return items;
  std::vector<Value> kept;
  for (Value& item : items) {
    const Enter enter(this, scope_);
    Assign(*stmt.target, item);
    const bool keep = Evaluate(*stmt.condition).Truth();
    if (failed()) break;
    if (keep) kept.push_back(std::move(item));
  }
  return kept;
}

void Interpreter::RunLoop(const Stmt& stmt, const Value& iterable, int depth0,
                          const FunctionPtr& recurse) {
  if (failed()) return;
  const auto items = std::make_shared<const Sequence>(
      Sequence{FilterItems(stmt, Iterate(iterable)), /*tuple=*/false});
  const auto before = std::make_shared<Value>();
  for (size_t i = 0; i < items->items.size() && !failed(); ++i) {
    const Enter enter(this, scope_);
    Assign(*stmt.target, items->items[i]);
    scope_->variables.insert_or_assign(
        "loop",
        Value(std::make_shared<const LoopState>(LoopState{items, i, depth0, recurse, before})));
    if (Execute(stmt.body) == Flow::kBreak) break;
  }
  if (items->items.empty()) ExecuteScoped(stmt.otherwise);
}

}  // namespace tidal::jinja
