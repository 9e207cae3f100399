#include <utility>

#include "server/text/concat.h"
#include "server/text/jinja/builtins.h"
#include "server/text/jinja/interpreter.h"
#include "server/text/jinja/operators.h"

namespace tidal::jinja {

Value Interpreter::Evaluate(const Expr& expr) {
  const Depth depth(this);
  Step();
  if (failed()) return Value();
  at_ = expr.at;
  return EvaluateHere(expr);
}

Value Interpreter::EvaluateHere(const Expr& expr) {
  switch (expr.kind) {
    case Expr::kConstant:
      return expr.value;
    case Expr::kName:
      return LookUp(expr.name);
    case Expr::kAttribute: {
      const Value object = Evaluate(*expr.items[0]);
      at_ = expr.at;
      return GetAttribute(object, expr.name);
    }
    case Expr::kItem:
      return EvaluateItem(expr);
    case Expr::kCall: {
      const Value callee = Evaluate(*expr.items[0]);
      const Arguments arguments = EvaluateArguments(expr.arguments);
      at_ = expr.at;
      return Call(callee, arguments);
    }
    case Expr::kFilter:
      return EvaluateFilters(expr, nullptr);
    case Expr::kTest: {
      const Value value = Evaluate(*expr.items[0]);
      const Arguments arguments = EvaluateArguments(expr.arguments);
      at_ = expr.at;
      return Value(ApplyTest(expr.name, value, arguments));
    }
    case Expr::kList:
      return MakeList(EvaluateAll(expr.items));
    case Expr::kTuple:
      return MakeTuple(EvaluateAll(expr.items));
    case Expr::kDict:
      return EvaluateDict(expr);
    case Expr::kUnary:
      return EvaluateUnary(expr);
    case Expr::kBinary:
      return EvaluateBinary(expr);
    case Expr::kCompare:
      return EvaluateCompare(expr);
    case Expr::kConcat:
      return EvaluateConcat(expr);
    case Expr::kCondition:
      return EvaluateCondition(expr);
    case Expr::kSlice:
      return Fail("a slice stands only in brackets after a value");
  }
  return Value();
}

Value Interpreter::LookUp(const std::string& name) {
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->outer.get()) {
    const auto it = scope->variables.find(name);
    if (it != scope->variables.end()) return it->second;
  }
  const Value global = FindGlobal(name);
  return global.is_undefined() ? Value::Missing(Concat("'", name, "' is undefined")) : global;
}

Value Interpreter::EvaluateUnary(const Expr& expr) {
  const Value value = Evaluate(*expr.items[0]);
  if (failed()) return Value();
  at_ = expr.at;
  if (expr.name == "not") return Value(!value.Truth());
  if (expr.name == "-") return Negate(this, value);
  if (value.is_float() || value.is_int()) return value;
  return Negate(this, Negate(this, value));
}

Value Interpreter::EvaluateBinary(const Expr& expr) {
  Value left = Evaluate(*expr.items[0]);
  if (failed()) return Value();
  if (expr.name == "and") return left.Truth() ? Evaluate(*expr.items[1]) : left;
  if (expr.name == "or") return left.Truth() ? left : Evaluate(*expr.items[1]);
  const Value right = Evaluate(*expr.items[1]);
  at_ = expr.at;
  return Arithmetic(this, expr.name, left, right);
}

bool Interpreter::CompareOnce(const std::string& op, const Value& a, const Value& b) {
  if (op == "==") return Equals(this, a, b);
  if (op == "!=") return !Equals(this, a, b);
  if (op == "<") return Less(this, a, b);
  if (op == ">") return Less(this, b, a);
  if (op == "in") return Contains(this, b, a);
  if (op == "not in") return !Contains(this, b, a);
  // <= and >= are not "not >" and "not <": a NaN is neither.
  if (op == "<=") return Less(this, a, b) || Equals(this, a, b);
  return Less(this, b, a) || Equals(this, a, b);
}

Value Interpreter::EvaluateCompare(const Expr& expr) {
  Value left = Evaluate(*expr.items[0]);
  for (size_t i = 0; i < expr.ops.size(); ++i) {
    Value right = Evaluate(*expr.items[i + 1]);
    if (failed()) return Value();
    at_ = expr.at;
    if (!CompareOnce(expr.ops[i], left, right)) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Value Interpreter::EvaluateConcat(const Expr& expr) {
  std::string text;
  for (const ExprPtr& item : expr.items) {
    const Value value = Evaluate(*item);
    AppendText(this, value, &text);
  }
  return MakeString(std::move(text));
}

Value Interpreter::EvaluateCondition(const Expr& expr) {
  const bool condition = Evaluate(*expr.items[1]).Truth();
  if (failed()) return Value();
  if (condition) return Evaluate(*expr.items[0]);
  if (expr.items[2] != nullptr) return Evaluate(*expr.items[2]);
  return Value::Missing(
      "the inline if-expression evaluated to false and no else section was defined.");
}

Value Interpreter::EvaluateDict(const Expr& expr) {
  Dict dict;
  for (size_t i = 0; i + 1 < expr.items.size(); i += 2) {
    const Value key = Evaluate(*expr.items[i]);
    const Value value = Evaluate(*expr.items[i + 1]);
    if (failed()) return Value();
    if (!dict.Set(key, value)) return Fail(Concat("unhashable type: '", TypeName(key), "'"));
  }
  return MakeDict(std::move(dict));
}

Value Interpreter::EvaluateItem(const Expr& expr) {
  const Value object = Evaluate(*expr.items[0]);
  if (failed()) return Value();
  if (expr.items[1]->kind == Expr::kSlice) return Slice(object, *expr.items[1]);
  const Value key = Evaluate(*expr.items[1]);
  at_ = expr.at;
  return failed() ? Value() : GetItem(object, key);
}

Value Interpreter::EvaluateFilters(const Expr& expr, const Value* input) {
  const Depth depth(this);
  if (failed()) return Value();
  const ExprPtr& inner = expr.items[0];
  Value value;
  if (inner == nullptr) {
    value = *input;
  } else if (input != nullptr) {
    value = EvaluateFilters(*inner, input);
  } else {
    value = Evaluate(*inner);
  }
  const Arguments arguments = EvaluateArguments(expr.arguments);
  at_ = expr.at;
  return ApplyFilter(expr.name, value, arguments);
}

std::vector<Value> Interpreter::EvaluateAll(const std::vector<ExprPtr>& exprs) {
  std::vector<Value> values;
  values.reserve(exprs.size());
  for (const ExprPtr& expr : exprs) values.push_back(Evaluate(*expr));
  return values;
}

Arguments Interpreter::EvaluateArguments(const ArgumentList& list) {
  Arguments arguments;
  arguments.positional = EvaluateAll(list.positional);
  for (const auto& [name, expr] : list.named) arguments.named.emplace_back(name, Evaluate(*expr));
  if (list.dynamic_positional != nullptr) {
    for (Value& value : Iterate(Evaluate(*list.dynamic_positional))) {
      arguments.positional.push_back(std::move(value));
    }
  }
  if (list.dynamic_named != nullptr) {
    const Value named = Evaluate(*list.dynamic_named);
    if (failed() || !named.is_dict()) {
      Fail("what comes after ** must be a dict");
      return arguments;
    }
    for (const auto& [key, value] : named.dict().entries()) {
      if (!key.is_string()) {
        Fail("keywords must be strings");
        break;
      }
      arguments.named.emplace_back(key.string(), value);
    }
  }
  return arguments;
}

}  // namespace tidal::jinja
