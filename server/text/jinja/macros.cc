#include <algorithm>
#include <utility>

#include "server/text/concat.h"
#include "server/text/jinja/interpreter.h"
#include "server/text/jinja/operators.h"

namespace tidal::jinja {

Value Interpreter::MakeMacro(const Stmt& stmt, const std::string& name) {
  captured_.push_back(scope_);
  auto function = std::make_shared<Function>();
  function->name = name;
  function->call = [this, &stmt, name, scope = scope_](Runtime*, const Arguments& arguments) {
    return CallMacro(stmt, name, scope, arguments);
  };
  return Value(FunctionPtr(std::move(function)));
}

Value Interpreter::CallMacro(const Stmt& stmt, const std::string& name, const ScopePtr& scope,
                             const Arguments& arguments) {
  const Position at = at_;
  const Enter enter(this, scope);
  BindParameters(stmt, name, arguments);
  std::string text;
  std::string* const out = std::exchange(out_, &text);
  Execute(stmt.body);
  out_ = out;
  if (!failed()) at_ = at;
  return MakeString(std::move(text));
}

void Interpreter::BindParameters(const Stmt& stmt, const std::string& name,
                                 const Arguments& arguments) {
  const Signature& signature = stmt.signature;
  const size_t count = signature.names.size();
  const size_t first_default = count - signature.defaults.size();
  auto& variables = scope_->variables;
  std::vector<Value> rest;
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    if (i < count) {
      variables.insert_or_assign(signature.names[i], arguments.positional[i]);
    } else {
      rest.push_back(arguments.positional[i]);
    }
  }
  Dict other;
  for (const auto& [key, value] : arguments.named) {
    const auto it = std::find(signature.names.begin(), signature.names.end(), key);
    if (it == signature.names.end()) {
      key == "caller" ? (void)variables.insert_or_assign(key, value) : other.SetName(key, value);
    } else if (it - signature.names.begin() < static_cast<int64_t>(arguments.positional.size())) {
      Fail(Concat("macro '", name, "' got multiple values for argument '", key, "'"));
    } else {
      variables.insert_or_assign(key, value);
    }
  }
  if (!rest.empty() && !stmt.uses_varargs) {
    Fail(Concat("macro '", name, "' takes not more than ", count, " argument(s)"));
  }
  if (other.size() > 0 && !stmt.uses_kwargs) {
    Fail(Concat("macro '", name, "' takes no keyword argument '", other.entries()[0].first.string(),
                "'"));
  }
  variables.insert_or_assign("varargs", MakeTuple(std::move(rest)));
  variables.insert_or_assign("kwargs", MakeDict(std::move(other)));
  variables.try_emplace("caller", Value::Missing("No caller defined"));
  for (size_t i = 0; i < count; ++i) {  // in order: a default may use the parameters before it
    if (variables.contains(signature.names[i])) continue;
    Value value =
        i >= first_default
            ? Evaluate(*signature.defaults[i - first_default])
            : Value::Missing(Concat("parameter '", signature.names[i], "' was not provided"));
    variables.insert_or_assign(signature.names[i], std::move(value));
  }
}

void Interpreter::ExecuteCallBlock(const Stmt& stmt) {
  const Value callee = Evaluate(*stmt.expr->items[0]);
  Arguments arguments = EvaluateArguments(stmt.expr->arguments);
  arguments.named.emplace_back("caller", MakeMacro(stmt, "caller"));
  Write(ToText(this, Call(callee, arguments)));
}

}  // namespace tidal::jinja
