// map, select and their kin, default and attr.
#include "server/text/concat.h"
#include "server/text/jinja/builtins.h"
#include "server/text/jinja/operators.h"

namespace tidal::jinja {
namespace {

using Args = const Arguments&;

const Value* FindNamed(Args args, std::string_view name) {
  for (const auto& [key, value] : args.named) {
    if (key == name) return &value;
  }
  return nullptr;
}

// The filter or test that args.positional[index] names, and the arguments after it.
struct Named {
  std::string name;
  Arguments rest;
};
Named TakeName(Runtime* rt, Args args, size_t index) {
  Named named;
  const Value& name = args.positional[index];
  if (!name.is_string()) {
    rt->Fail("the name of a filter or test must be a string");
    return named;
  }
  named.name = name.string();
  named.rest.positional.assign(args.positional.begin() + index + 1, args.positional.end());
  named.rest.named = args.named;
  return named;
}

// These filters take anything false for nothing.
std::vector<Value> Elements(Runtime* rt, const Value& value) {
  return value.Truth() ? rt->Iterate(value) : std::vector<Value>();
}

Value Map(Runtime* rt, const Value& value, Args args) {
  std::vector<Value> mapped;
  const Value* const attribute = FindNamed(args, "attribute");
  if (args.positional.empty() && attribute == nullptr) {
    return rt->Fail("map requires a filter argument");
  }
  if (args.positional.empty()) {
    const Value* otherwise = FindNamed(args, "default");
    if (otherwise != nullptr && otherwise->is_none()) otherwise = nullptr;
    if (args.named.size() > 1u + (FindNamed(args, "default") != nullptr)) {
      return rt->Fail("map() got an unexpected keyword argument");
    }
    for (const Value& item : Elements(rt, value)) {
      mapped.push_back(GetPath(rt, item, *attribute, otherwise));
    }
  } else {
    const Named filter = TakeName(rt, args, 0);
    for (const Value& item : Elements(rt, value)) {
      mapped.push_back(rt->ApplyFilter(filter.name, item, filter.rest));
      if (rt->failed()) break;
    }
  }
  return rt->MakeGenerator(std::move(mapped));
}

Value SelectOrReject(Runtime* rt, const Value& value, Args args, bool by_attribute, bool keep) {
  if (by_attribute && args.positional.empty()) {
    return rt->Fail("Missing parameter for attribute name");
  }
  const size_t index = by_attribute ? 1 : 0;
  const bool tested = args.positional.size() > index;
  const Named test = tested ? TakeName(rt, args, index) : Named();
  std::vector<Value> kept;
  for (const Value& item : Elements(rt, value)) {
    const Value what = by_attribute ? GetPath(rt, item, args.positional[0], nullptr) : item;
    const bool passes = tested ? rt->ApplyTest(test.name, what, test.rest) : what.Truth();
    if (rt->failed()) break;
    if (passes == keep) kept.push_back(item);
  }
  return rt->MakeGenerator(std::move(kept));
}
Value Select(Runtime* rt, const Value& v, Args a) { return SelectOrReject(rt, v, a, false, true); }
Value Reject(Runtime* rt, const Value& v, Args a) { return SelectOrReject(rt, v, a, false, false); }
Value SelectAttr(Runtime* rt, const Value& v, Args a) {
  return SelectOrReject(rt, v, a, true, true);
}
Value RejectAttr(Runtime* rt, const Value& v, Args a) {
  return SelectOrReject(rt, v, a, true, false);
}

Value Default(Runtime* rt, const Value& value, Args args) {
  const Parameters p(rt, "default", args, {"default_value", "boolean"});
  const bool replace = value.is_undefined() || (p.Bool(1, false) && !value.Truth());
  if (!replace) return value;
  return p.Has(0) ? p.Get(0) : Value("");
}

Value Attr(Runtime* rt, const Value& value, Args args) {
  const Parameters p(rt, "attr", args, {"name"});
  const std::string name = p.Require(0).String(0, "");
  // Never an element of a dict, only what a dot finds on the object itself.
  if (value.is_dict() && FindDictMethod(name) == nullptr) {
    return Value::Missing(Concat("'dict object' has no attribute '", name, "'"));
  }
  return rt->GetAttribute(value, name);
}

}  // namespace

const FilterTable& SelectionFilters() {
  static const auto* const filters = new FilterTable{
      {"map", Map},
      {"select", Select},
      {"reject", Reject},
      {"selectattr", SelectAttr},
      {"rejectattr", RejectAttr},
      {"default", Default},
      {"d", Default},
      {"attr", Attr},
  };
  return *filters;
}

}  // namespace tidal::jinja
