// The methods of dicts, lists and tuples that change nothing.
#include "server/text/jinja/builtins.h"
#include "server/text/jinja/operators.h"

namespace tidal::jinja {
namespace {

using Args = const Arguments&;

Value Keys(Runtime* rt, const Value& self, Args args) {
  const Parameters none(rt, "keys", args, {});
  return rt->MakeView(rt->Iterate(self), "dict_keys");
}

Value Values(Runtime* rt, const Value& self, Args args) {
  const Parameters none(rt, "values", args, {});
  std::vector<Value> values;
  for (const auto& [key, value] : self.dict().entries()) values.push_back(value);
  return rt->MakeView(std::move(values), "dict_values");
}

Value Items(Runtime* rt, const Value& self, Args args) {
  const Parameters none(rt, "items", args, {});
  return rt->MakeView(DictItems(rt, self.dict()), "dict_items");
}

Value Get(Runtime* rt, const Value& self, Args args) {
  const Parameters p(rt, "get", args, {"key", "default"});
  const Value key = p.Require(0).Get(0);
  if (const Value* found = self.dict().Find(key)) return *found;
  return p.Has(1) ? p.Get(1) : Value(nullptr);
}

Value Copy(Runtime* rt, const Value& self, Args args) {
  const Parameters none(rt, "copy", args, {});
  return self;  // nothing changes either of the two
}

Value Index(Runtime* rt, const Value& self, Args args) {
  const Parameters p(rt, "index", args, {"value"});
  const Value wanted = p.Require(0).Get(0);
  for (size_t i = 0; i < self.items().size(); ++i) {
    if (Equals(rt, self.items()[i], wanted)) return Value(static_cast<int64_t>(i));
  }
  return rt->Fail("the value is not in the list");
}

Value Count(Runtime* rt, const Value& self, Args args) {
  const Parameters p(rt, "count", args, {"value"});
  const Value wanted = p.Require(0).Get(0);
  int64_t count = 0;
  for (const Value& item : self.items()) count += Equals(rt, item, wanted);
  return Value(count);
}

}  // namespace

std::vector<Value> DictItems(Runtime* rt, const Dict& dict) {
  std::vector<Value> items;
  for (const auto& [key, value] : dict.entries()) items.push_back(rt->MakeTuple({key, value}));
  return items;
}

MethodFn FindDictMethod(const std::string& name) {
  if (name == "keys") return Keys;
  if (name == "values") return Values;
  if (name == "items") return Items;
  if (name == "get") return Get;
  return name == "copy" ? Copy : nullptr;
}

MethodFn FindSequenceMethod(const std::string& name) {
  if (name == "index") return Index;
  if (name == "count") return Count;
  return name == "copy" ? Copy : nullptr;
}

}  // namespace tidal::jinja
