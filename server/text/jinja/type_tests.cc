// What may stand after `is`.
#include <algorithm>

#include "server/text/concat.h"
#include "server/text/jinja/builtins.h"
#include "server/text/jinja/operators.h"
#include "server/text/jinja/python_string.h"

namespace tidal::jinja {
namespace {

const Value& Other(Runtime* rt, const Arguments& arguments) {
  static const Value* const undefined = new Value();
  if (arguments.positional.size() == 1 && arguments.named.empty()) return arguments.positional[0];
  rt->Fail("this test takes one argument");
  return *undefined;
}

bool IsDivisible(Runtime* rt, const Value& value, int64_t divisor, int64_t remainder) {
  const Value rest = Arithmetic(rt, "%", value, Value(divisor));
  return !rt->failed() && Equals(rt, rest, Value(remainder));
}

bool IsSame(Runtime* rt, const Value& a, const Value& b) {
  return TypeName(a) == TypeName(b) && Equals(rt, a, b);
}

using Args = const Arguments&;

bool Defined(Runtime*, const Value& v, Args) { return !v.is_undefined(); }
bool IsUndefined(Runtime*, const Value& v, Args) { return v.is_undefined(); }
bool None(Runtime*, const Value& v, Args) { return v.is_none(); }
bool String(Runtime*, const Value& v, Args) { return v.is_string(); }
bool Number(Runtime*, const Value& v, Args) { return v.is_number(); }
bool Integer(Runtime*, const Value& v, Args) { return v.is_int(); }
bool Float(Runtime*, const Value& v, Args) { return v.is_float(); }
bool Boolean(Runtime*, const Value& v, Args) { return v.is_bool(); }
bool True(Runtime*, const Value& v, Args) { return v.is_bool() && v.boolean(); }
bool False(Runtime*, const Value& v, Args) { return v.is_bool() && !v.boolean(); }
bool Mapping(Runtime*, const Value& v, Args) { return v.is_dict(); }
bool Callable(Runtime*, const Value& v, Args) { return v.is_function() || v.is_undefined(); }
bool SequenceLike(Runtime*, const Value& v, Args) {  // has a length and takes an index
  return v.is_sequence() || v.is_string() || v.is_dict() || v.is_undefined();
}
bool Iterable(Runtime*, const Value& v, Args) {
  return v.is_sequence() || v.is_string() || v.is_dict() || v.is_stream() || v.is_undefined() ||
         v.is_loop();
}
bool Odd(Runtime* rt, const Value& v, Args) { return IsDivisible(rt, v, 2, 1); }
bool Even(Runtime* rt, const Value& v, Args) { return IsDivisible(rt, v, 2, 0); }
bool DivisibleBy(Runtime* rt, const Value& v, Args args) {
  const Value rest = Arithmetic(rt, "%", v, Other(rt, args));
  return !rt->failed() && Equals(rt, rest, Value(int64_t{0}));
}
bool Lower(Runtime* rt, const Value& v, Args) { return HasProperty(ToText(rt, v), "islower"); }
bool Upper(Runtime* rt, const Value& v, Args) { return HasProperty(ToText(rt, v), "isupper"); }
bool Equal(Runtime* rt, const Value& v, Args args) { return Equals(rt, v, Other(rt, args)); }
bool Unequal(Runtime* rt, const Value& v, Args args) { return !Equals(rt, v, Other(rt, args)); }
bool LessThan(Runtime* rt, const Value& v, Args args) { return Less(rt, v, Other(rt, args)); }
bool GreaterThan(Runtime* rt, const Value& v, Args args) { return Less(rt, Other(rt, args), v); }
bool AtMost(Runtime* rt, const Value& v, Args args) {
  return Less(rt, v, Other(rt, args)) || Equals(rt, v, Other(rt, args));
}
bool AtLeast(Runtime* rt, const Value& v, Args args) {
  return Less(rt, Other(rt, args), v) || Equals(rt, v, Other(rt, args));
}
bool In(Runtime* rt, const Value& v, Args args) { return Contains(rt, Other(rt, args), v); }
bool SameAs(Runtime* rt, const Value& v, Args args) { return IsSame(rt, v, Other(rt, args)); }
bool Escaped(Runtime*, const Value& v, Args) { return v.is_escaped(); }
bool IsFilter(Runtime*, const Value& v, Args) {
  return v.is_string() && FindFilter(v.string()) != nullptr;
}
bool IsTest(Runtime*, const Value& v, Args) {
  return v.is_string() && FindTest(v.string()) != nullptr;
}

}  // namespace

TestFn FindTest(const std::string& name) {
  static const auto* const tests = new std::unordered_map<std::string_view, TestFn>{
      {"defined", Defined},
      {"undefined", IsUndefined},
      {"none", None},
      {"string", String},
      {"number", Number},
      {"integer", Integer},
      {"float", Float},
      {"boolean", Boolean},
      {"true", True},
      {"false", False},
      {"mapping", Mapping},
      {"sequence", SequenceLike},
      {"iterable", Iterable},
      {"callable", Callable},
      {"odd", Odd},
      {"even", Even},
      {"divisibleby", DivisibleBy},
      {"lower", Lower},
      {"upper", Upper},
      {"escaped", Escaped},
      {"filter", IsFilter},
      {"test", IsTest},
      {"in", In},
      {"sameas", SameAs},
      {"==", Equal},
      {"eq", Equal},
      {"equalto", Equal},
      {"!=", Unequal},
      {"ne", Unequal},
      {"<", LessThan},
      {"lt", LessThan},
      {"lessthan", LessThan},
      {"<=", AtMost},
      {"le", AtMost},
      {">", GreaterThan},
      {"gt", GreaterThan},
      {"greaterthan", GreaterThan},
      {">=", AtLeast},
      {"ge", AtLeast},
  };
  const auto it = tests->find(name);
  return it == tests->end() ? nullptr : it->second;
}

}  // namespace tidal::jinja
