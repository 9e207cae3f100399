#include <cmath>

#include "server/text/concat.h"
#include "server/text/jinja/operators.h"

namespace tidal::jinja {
namespace {

Value Unsupported(Runtime* rt, std::string_view op, const Value& a, const Value& b) {
  rt->FailIfUndefined(a);
  rt->FailIfUndefined(b);
  return rt->Fail(Concat("unsupported operand type(s) for ", op, ": '", TypeName(a), "' and '",
                         TypeName(b), "'"));
}

Value Overflow(Runtime* rt) { return rt->Fail("an integer of more than 64 bits"); }

Value Power(Runtime* rt, int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) return Overflow(rt);
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return Overflow(rt);
  }
  return Value(result);
}

Value IntegerArithmetic(Runtime* rt, std::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (op == "**") {
    return b < 0 ? Value(std::pow(static_cast<double>(a), static_cast<double>(b)))
                 : Power(rt, a, b);
  } else if (b == 0) {
    return rt->Fail(op == "/" ? "division by zero" : "integer division or modulo by zero");
  } else if (op == "/") {
    return Value(static_cast<double>(a) / static_cast<double>(b));
  } else if (b == -1) {  // the one quotient that can be too large
    overflow = op == "//" && __builtin_sub_overflow(int64_t{0}, a, &result);
  } else {
    // Python rounds down, C towards zero.
    const int64_t remainder = a % b;
    const bool down = remainder != 0 && (remainder < 0) != (b < 0);
    result = op == "//" ? a / b - down : remainder + (down ? b : 0);
  }
  return overflow ? Overflow(rt) : Value(result);
}

Value FloatArithmetic(Runtime* rt, std::string_view op, double a, double b) {
  if (op == "+") return Value(a + b);
  if (op == "-") return Value(a - b);
  if (op == "*") return Value(a * b);
  if (op == "**") {
    if (a == 0 && b < 0) return rt->Fail("0.0 cannot be raised to a negative power");
    const double power = std::pow(a, b);
    if (std::isnan(power) && !std::isnan(a) && !std::isnan(b)) {
      return rt->Fail("a power that is not a real number");
    }
    return Value(power);
  }
  if (b == 0) return rt->Fail("float division by zero");
  if (op == "/") return Value(a / b);
  double remainder = std::fmod(a, b);
  if (remainder != 0 && (remainder < 0) != (b < 0)) remainder += b;
  if (op == "%") return Value(remainder);
  return Value(std::floor((a - remainder) / b + 0.5));
}

Value Repeat(Runtime* rt, const Value& value, int64_t count) {
  const int64_t size = value.is_string() ? value.string().size() : value.items().size();
  if (count <= 0 || size == 0) count = 0;
  int64_t total = 0;
  if (__builtin_mul_overflow(size, count, &total) || !rt->Fits(total)) {
    return rt->Exhausted("a repetition that is too long");
  }
  if (value.is_string()) {
    std::string text;
    text.reserve(total);
    for (int64_t i = 0; i < count; ++i) text += value.string();
    return rt->MakeString(std::move(text), value.is_escaped());
  }
  rt->Step(total);
  if (rt->failed()) return Value();
  std::vector<Value> items;
  for (int64_t i = 0; i < count; ++i) {
    items.insert(items.end(), value.items().begin(), value.items().end());
  }
  return value.is_tuple() ? rt->MakeTuple(std::move(items)) : rt->MakeList(std::move(items));
}

Value Join(Runtime* rt, const Value& a, const Value& b) {
  if (a.is_escaped() || b.is_escaped()) {
    return rt->MakeString(EscapedText(rt, a) + EscapedText(rt, b), /*escaped=*/true);
  }
  if (a.is_string()) return rt->MakeString(a.string() + b.string());
  std::vector<Value> items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  return a.is_tuple() ? rt->MakeTuple(std::move(items)) : rt->MakeList(std::move(items));
}

}  // namespace

Value Arithmetic(Runtime* rt, std::string_view op, const Value& a, const Value& b) {
  if (rt->failed()) return Value();
  if (a.is_number() && b.is_number()) {
    const auto i = a.IntOrBool(), j = b.IntOrBool();
    return i.has_value() && j.has_value() ? IntegerArithmetic(rt, op, *i, *j)
                                          : FloatArithmetic(rt, op, a.AsDouble(), b.AsDouble());
  }
  if (op == "%" && a.is_string()) return FormatPercent(rt, a, b);
  if (op == "+" && a.is_string() && !b.is_string()) {
    rt->FailIfUndefined(b);
    return rt->Fail(Concat("can only concatenate str (not \"", TypeName(b), "\") to str"));
  }
  const bool joinable = (a.is_string() && b.is_string()) ||
                        (a.is_sequence() && b.is_sequence() && a.is_tuple() == b.is_tuple());
  if (op == "+" && joinable) return Join(rt, a, b);
  const auto repeatable = [](const Value& v) { return v.is_string() || v.is_sequence(); };
  if (op == "*" && repeatable(a) && b.IntOrBool()) return Repeat(rt, a, *b.IntOrBool());
  if (op == "*" && repeatable(b) && a.IntOrBool()) return Repeat(rt, b, *a.IntOrBool());
  return Unsupported(rt, op, a, b);
}

Value Negate(Runtime* rt, const Value& value) {
  if (value.is_float()) return Value(-value.floating());
  if (const auto integer = value.IntOrBool()) return IntegerArithmetic(rt, "-", 0, *integer);
  rt->FailIfUndefined(value);
  return rt->Fail(Concat("bad operand type for unary -: '", TypeName(value), "'"));
}

}  // namespace tidal::jinja
