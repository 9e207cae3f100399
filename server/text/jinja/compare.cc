#include <algorithm>

#include "server/text/concat.h"
#include "server/text/jinja/operators.h"

namespace tidal::jinja {
namespace {

bool DictsEqual(Runtime* rt, const Dict& a, const Dict& b) {
  if (a.size() != b.size()) return false;
  return std::all_of(a.entries().begin(), a.entries().end(), [&](const Dict::Entry& entry) {
    const Value* other = b.Find(entry.first);
    return other != nullptr && Equals(rt, entry.second, *other);
  });
}

}  // namespace

std::string_view TypeName(const Value& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "NoneType";
  if (value.is_bool()) return "bool";
  if (value.is_int()) return "int";
  if (value.is_float()) return "float";
  if (value.is_string()) return value.is_escaped() ? "Markup" : "str";
  if (value.is_list()) return "list";
  if (value.is_tuple()) return "tuple";
  if (value.is_stream()) return value.stream().type_name;
  if (value.is_dict()) return "dict";
  if (value.is_namespace()) return "Namespace";
  return value.is_loop() ? "LoopContext" : "function";
}

bool Equals(Runtime* rt, const Value& a, const Value& b) {
  rt->Step();
  if (rt->failed()) return false;
  if (a.is_number() && b.is_number()) {
    const auto i = a.IntOrBool(), j = b.IntOrBool();
    return i.has_value() && j.has_value() ? *i == *j : a.AsDouble() == b.AsDouble();
  }
  if (a.is_string() && b.is_string()) return a.string() == b.string();
  if (a.is_sequence() && b.is_sequence()) {
    return a.is_tuple() == b.is_tuple() && a.items().size() == b.items().size() &&
           std::equal(a.items().begin(), a.items().end(), b.items().begin(),
                      [rt](const Value& x, const Value& y) { return Equals(rt, x, y); });
  }
  if (a.is_dict() && b.is_dict()) return DictsEqual(rt, a.dict(), b.dict());
  if (a.identity() != nullptr) return a.identity() == b.identity();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

bool Less(Runtime* rt, const Value& a, const Value& b) {
  rt->Step();
  if (rt->failed()) return false;
  if (a.is_number() && b.is_number()) {
    const auto i = a.IntOrBool(), j = b.IntOrBool();
    return i.has_value() && j.has_value() ? *i < *j : a.AsDouble() < b.AsDouble();
  }
  // Bytes of UTF-8 are in the order of code points.
  if (a.is_string() && b.is_string()) return a.string() < b.string();
  if (a.is_sequence() && b.is_sequence() && a.is_tuple() == b.is_tuple()) {
    const auto &x = a.items(), &y = b.items();
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!Equals(rt, x[i], y[i])) return Less(rt, x[i], y[i]);
    }
    return x.size() < y.size();
  }
  rt->FailIfUndefined(a);
  rt->FailIfUndefined(b);
  rt->Fail(
      Concat("'<' not supported between instances of '", TypeName(a), "' and '", TypeName(b), "'"));
  return false;
}

bool Contains(Runtime* rt, const Value& container, const Value& element) {
  if (container.is_string()) {
    if (element.is_string()) {
      rt->Step(static_cast<int64_t>(container.string().size() / 64));
      return container.string().find(element.string()) != std::string::npos;
    }
    rt->FailIfUndefined(element);
    rt->Fail(Concat("'in <string>' requires string as left operand, not ", TypeName(element)));
    return false;
  }
  if (container.is_dict()) {
    if (element.is_list() || element.is_dict()) {
      rt->Fail(Concat("unhashable type: '", TypeName(element), "'"));
    }
    return container.dict().Find(element) != nullptr;
  }
  if (container.is_stream()) {
    const std::vector<Value> items = rt->Iterate(container);
    return std::any_of(items.begin(), items.end(),
                       [&](const Value& item) { return Equals(rt, item, element); });
  }
  if (container.is_sequence()) {
    return std::any_of(container.items().begin(), container.items().end(),
                       [&](const Value& item) { return Equals(rt, item, element); });
  }
  if (!container.is_undefined()) {
    rt->Fail(Concat("argument of type '", TypeName(container), "' is not iterable"));
  }
  return false;
}

}  // namespace tidal::jinja
