// What may stand after `is`.
#include <algorithm>

#include "server/text/concat.h"
#include "server/text/jinja/builtins.h"
#include "server/text/jinja/operators.h"
#include "server/text/jinja/python_string.h"

namespace tidal::jinja {
namespace {

using Args = const Arguments&;

// A test without arguments.
template <bool (*kTest)(Runtime*, const Value&)>
bool Alone(Runtime* rt, const Value& value, Args args) {
  if (args.positional.empty() && args.named.empty()) return kTest(rt, value);
  rt->Fail("this test takes no argument");
  return false;
}

// A test against one other value.
template <bool (*kTest)(Runtime*, const Value&, const Value& other)>
bool Against(Runtime* rt, const Value& value, Args args) {
  if (args.positional.size() == 1 && args.named.empty()) {
    return kTest(rt, value, args.positional[0]);
  }
  rt->Fail("this test takes one argument");
  return false;
}

bool IsDivisible(Runtime* rt, const Value& value, int64_t divisor, int64_t remainder) {
  const Value rest = Arithmetic(rt, "%", value, Value(divisor));
  return !rt->failed() && Equals(rt, rest, Value(remainder));
}

bool IsSame(Runtime* rt, const Value& a, const Value& b) {
  return TypeName(a) == TypeName(b) && Equals(rt, a, b);
}

bool Defined(Runtime*, const Value& v) { return !v.is_undefined(); }
bool IsUndefined(Runtime*, const Value& v) { return v.is_undefined(); }
bool None(Runtime*, const Value& v) { return v.is_none(); }
bool String(Runtime*, const Value& v) { return v.is_string(); }
bool Number(Runtime*, const Value& v) { return v.is_number(); }
bool Integer(Runtime*, const Value& v) { return v.is_int(); }
bool Float(Runtime*, const Value& v) { return v.is_float(); }
bool Boolean(Runtime*, const Value& v) { return v.is_bool(); }
bool True(Runtime*, const Value& v) { return v.is_bool() && v.boolean(); }
bool False(Runtime*, const Value& v) { return v.is_bool() && !v.boolean(); }
bool Mapping(Runtime*, const Value& v) { return v.is_dict(); }
bool Callable(Runtime*, const Value& v) { return v.is_function() || v.is_undefined(); }
bool SequenceLike(Runtime*, const Value& v) {  // has a length and takes an index
  return v.is_sequence() || v.is_string() || v.is_dict() || v.is_undefined();
}
bool Iterable(Runtime*, const Value& v) {
  return v.is_sequence() || v.is_string() || v.is_dict() || v.is_stream() || v.is_undefined() ||
         v.is_loop();
}
bool Odd(Runtime* rt, const Value& v) { return IsDivisible(rt, v, 2, 1); }
bool Even(Runtime* rt, const Value& v) { return IsDivisible(rt, v, 2, 0); }
bool DivisibleBy(Runtime* rt, const Value& v, const Value& other) {
  const Value rest = Arithmetic(rt, "%", v, other);
  return !rt->failed() && Equals(rt, rest, Value(int64_t{0}));
}
bool Lower(Runtime* rt, const Value& v) { return HasProperty(ToText(rt, v), "islower"); }
bool Upper(Runtime* rt, const Value& v) { return HasProperty(ToText(rt, v), "isupper"); }
bool Equal(Runtime* rt, const Value& v, const Value& other) { return Equals(rt, v, other); }
bool Unequal(Runtime* rt, const Value& v, const Value& other) { return !Equals(rt, v, other); }
bool LessThan(Runtime* rt, const Value& v, const Value& other) { return Less(rt, v, other); }
bool GreaterThan(Runtime* rt, const Value& v, const Value& other) { return Less(rt, other, v); }
bool AtMost(Runtime* rt, const Value& v, const Value& other) {
  return Less(rt, v, other) || Equals(rt, v, other);
}
bool AtLeast(Runtime* rt, const Value& v, const Value& other) {
  return Less(rt, other, v) || Equals(rt, v, other);
}
bool In(Runtime* rt, const Value& v, const Value& other) { return Contains(rt, other, v); }
bool SameAs(Runtime* rt, const Value& v, const Value& other) { return IsSame(rt, v, other); }
bool Escaped(Runtime*, const Value& v) { return v.is_escaped(); }
bool IsFilter(Runtime*, const Value& v) {
  return v.is_string() && FindFilter(v.string()) != nullptr;
}
bool IsTest(Runtime*, const Value& v) { return v.is_string() && FindTest(v.string()) != nullptr; }

}  // namespace

TestFn FindTest(const std::string& name) {
  static const auto* const tests = new std::unordered_map<std::string_view, TestFn>{
      {"defined", Alone<Defined>},
      {"undefined", Alone<IsUndefined>},
      {"none", Alone<None>},
      {"string", Alone<String>},
      {"number", Alone<Number>},
      {"integer", Alone<Integer>},
      {"float", Alone<Float>},
      {"boolean", Alone<Boolean>},
      {"true", Alone<True>},
      {"false", Alone<False>},
      {"mapping", Alone<Mapping>},
      {"sequence", Alone<SequenceLike>},
      {"iterable", Alone<Iterable>},
      {"callable", Alone<Callable>},
      {"odd", Alone<Odd>},
      {"even", Alone<Even>},
      {"divisibleby", Against<DivisibleBy>},
      {"lower", Alone<Lower>},
      {"upper", Alone<Upper>},
      {"escaped", Alone<Escaped>},
      {"filter", Alone<IsFilter>},
      {"test", Alone<IsTest>},
      {"in", Against<In>},
      {"sameas", Against<SameAs>},
      {"==", Against<Equal>},
      {"eq", Against<Equal>},
      {"equalto", Against<Equal>},
      {"!=", Against<Unequal>},
      {"ne", Against<Unequal>},
      {"<", Against<LessThan>},
      {"lt", Against<LessThan>},
      {"lessthan", Against<LessThan>},
      {"<=", Against<AtMost>},
      {"le", Against<AtMost>},
      {">", Against<GreaterThan>},
      {"gt", Against<GreaterThan>},
      {"greaterthan", Against<GreaterThan>},
      {">=", Against<AtLeast>},
      {"ge", Against<AtLeast>},
  };
  const auto it = tests->find(name);
  return it == tests->end() ? nullptr : it->second;
}

}  // namespace tidal::jinja
