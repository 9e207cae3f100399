#include <algorithm>
#include <utility>

#include "server/text/concat.h"
#include "server/text/jinja/builtins.h"
#include "server/text/jinja/operators.h"
#include "server/text/jinja/python_string.h"

namespace tidal::jinja {
namespace {

using Args = const Arguments&;

Value Length(Runtime* rt, const Value& value, Args args) {
  const Parameters none(rt, "length", args, {});
  if (value.is_string()) return Value(CodePointCount(value.string()));
  if (value.is_sequence()) return Value(static_cast<int64_t>(value.items().size()));
  if (value.is_dict()) return Value(static_cast<int64_t>(value.dict().size()));
  if (value.is_undefined()) return Value(int64_t{0});
  if (value.is_stream() && !value.stream().once) {
    return Value(static_cast<int64_t>(value.stream().items.size()));
  }
  return rt->Fail(Concat("object of type '", TypeName(value), "' has no len()"));
}

Value First(Runtime* rt, const Value& value, Args args) {
  const Parameters none(rt, "first", args, {});
  const std::vector<Value> items = rt->Iterate(value, 1);
  return items.empty() ? Value::Missing("No first item, sequence was empty.") : items.front();
}

Value Last(Runtime* rt, const Value& value, Args args) {
  const Parameters none(rt, "last", args, {});
  if (value.is_stream() && value.stream().once) {
    return rt->Fail(Concat("'", TypeName(value), "' object is not reversible"));
  }
  const std::vector<Value> items = rt->Iterate(value);
  return items.empty() ? Value::Missing("No last item, sequence was empty.") : items.back();
}

Value List(Runtime* rt, const Value& value, Args args) {
  const Parameters none(rt, "list", args, {});
  return rt->MakeList(rt->Iterate(value));
}

Value Items(Runtime* rt, const Value& value, Args args) {
  const Parameters none(rt, "items", args, {});
  if (value.is_undefined()) return rt->MakeGenerator({});
  if (!value.is_dict()) return rt->Fail("Can only get item pairs from a mapping.");
  return rt->MakeGenerator(DictItems(rt, value.dict()));
}

Value Reverse(Runtime* rt, const Value& value, Args args) {
  const Parameters none(rt, "reverse", args, {});
  std::vector<Value> items = rt->Iterate(value);
  std::reverse(items.begin(), items.end());
  if (!value.is_string()) {
    const bool was_generator = value.is_stream() && value.stream().once;
    return was_generator ? rt->MakeList(std::move(items))
                         : rt->MakeGenerator(std::move(items), "list_reverseiterator");
  }
  std::string text;
  for (const Value& item : items) text += item.string();
  return rt->MakeString(std::move(text), value.is_escaped());
}

Value Join(Runtime* rt, const Value& value, Args args) {
  const Parameters p(rt, "join", args, {"d", "attribute"});
  const std::string separator = p.Has(0) ? ToText(rt, p.Get(0)) : "";
  const bool by_attribute = p.Has(1) && !p.Get(1).is_none();
  std::string text;
  bool first = true;
  for (const Value& item : rt->Iterate(value)) {
    if (!std::exchange(first, false)) text += separator;
    AppendText(rt, by_attribute ? GetPath(rt, item, p.Get(1), nullptr) : item, &text);
    if (rt->failed()) break;
  }
  return rt->MakeString(std::move(text));
}

Value Sum(Runtime* rt, const Value& value, Args args) {
  const Parameters p(rt, "sum", args, {"attribute", "start"});
  const bool by_attribute = p.Has(0) && !p.Get(0).is_none();
  Value sum = p.Has(1) ? p.Get(1) : Value(int64_t{0});
  if (sum.is_string()) return rt->Fail("sum() can't sum strings [use ''.join(seq) instead]");
  for (const Value& item : rt->Iterate(value)) {
    sum = Arithmetic(rt, "+", sum, by_attribute ? GetPath(rt, item, p.Get(0), nullptr) : item);
  }
  return sum;
}

Value IgnoreCase(const Value& value) {
  return value.is_string() ? Value(ToLower(value.string())) : value;
}

// What items are ordered by; `attribute` may be several, "a,b".
std::vector<Value> SortKey(Runtime* rt, const Value& item, const Value& attribute,
                           bool case_sensitive) {
  std::vector<Value> key;
  if (!attribute.is_string()) {
    const bool none = attribute.is_undefined() || attribute.is_none();
    key.push_back(none ? item : GetPath(rt, item, attribute, nullptr));
  } else {
    std::string_view names = attribute.string();
    while (true) {
      const std::string_view name = names.substr(0, names.find(','));
      key.push_back(GetPath(rt, item, Value(std::string(name)), nullptr));
      if (name.size() == names.size()) break;
      names.remove_prefix(name.size() + 1);
    }
  }
  if (!case_sensitive) std::transform(key.begin(), key.end(), key.begin(), IgnoreCase);
  return key;
}

struct Keyed {
  Value key, item;
};

// Stable both ways, as in Python; a merge sort also bears an order that fails midway.
void StableSort(Runtime* rt, bool reverse, std::vector<Keyed>* keyed) {
  std::stable_sort(keyed->begin(), keyed->end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? Less(rt, b.key, a.key) : Less(rt, a.key, b.key);
  });
}

Value Sort(Runtime* rt, const Value& value, Args args) {
  const Parameters p(rt, "sort", args, {"reverse", "case_sensitive", "attribute"});
  std::vector<Keyed> keyed;
  for (const Value& item : rt->Iterate(value)) {
    keyed.push_back({rt->MakeTuple(SortKey(rt, item, p.Get(2), p.Bool(1, false))), item});
    if (rt->failed()) return Value();
  }
  StableSort(rt, p.Bool(0, false), &keyed);
  std::vector<Value> sorted;
  for (Keyed& k : keyed) sorted.push_back(std::move(k.item));
  return rt->MakeList(std::move(sorted));
}

Value DictSort(Runtime* rt, const Value& value, Args args) {
  const Parameters p(rt, "dictsort", args, {"case_sensitive", "by", "reverse"});
  const std::string by = p.String(1, "key");
  if (by != "key" && by != "value") {
    return rt->Fail("You can only sort by either \"key\" or \"value\"");
  }
  if (!value.is_dict()) {
    rt->FailIfUndefined(value);
    return rt->Fail(Concat("dictsort() needs a dict, got ", TypeName(value)));
  }
  std::vector<Keyed> keyed;
  for (const Value& item : DictItems(rt, value.dict())) {
    if (rt->failed()) return Value();
    const Value& key = item.items()[by == "value"];
    keyed.push_back({p.Bool(0, false) ? key : IgnoreCase(key), item});
  }
  StableSort(rt, p.Bool(2, false), &keyed);
  std::vector<Value> sorted;
  for (Keyed& k : keyed) sorted.push_back(std::move(k.item));
  return rt->MakeList(std::move(sorted));
}

Value Unique(Runtime* rt, const Value& value, Args args) {
  const Parameters p(rt, "unique", args, {"case_sensitive", "attribute"});
  Dict seen;
  std::vector<Value> unique;
  for (const Value& item : rt->Iterate(value)) {
    Value key = p.Has(1) && !p.Get(1).is_none() ? GetPath(rt, item, p.Get(1), nullptr) : item;
    if (!p.Bool(0, false)) key = IgnoreCase(key);
    if (seen.Find(key) != nullptr) continue;
    if (!seen.Set(key, Value(true)))
      return rt->Fail(Concat("unhashable type: '", TypeName(key), "'"));
    unique.push_back(item);
  }
  return rt->MakeGenerator(std::move(unique));
}

Value Extreme(Runtime* rt, const Value& value, Args args, bool largest) {
  const Parameters p(rt, largest ? "max" : "min", args, {"case_sensitive", "attribute"});
  const std::vector<Value> items = rt->Iterate(value);
  if (items.empty()) return Value::Missing("No aggregated item, sequence was empty.");
  const auto key = [&](const Value& item) {
    const Value k = p.Has(1) && !p.Get(1).is_none() ? GetPath(rt, item, p.Get(1), nullptr) : item;
    return p.Bool(0, false) ? k : IgnoreCase(k);
  };
  Value best = items[0], best_key = key(best);
  for (size_t i = 1; i < items.size() && !rt->failed(); ++i) {
    const Value next = key(items[i]);
    if (largest ? Less(rt, best_key, next) : Less(rt, next, best_key)) {
      best = items[i];
      best_key = next;
    }
  }
  return best;
}
Value Min(Runtime* rt, const Value& v, Args args) { return Extreme(rt, v, args, false); }
Value Max(Runtime* rt, const Value& v, Args args) { return Extreme(rt, v, args, true); }

Value GroupBy(Runtime* rt, const Value& value, Args args) {
  const Parameters p(rt, "groupby", args, {"attribute", "default", "case_sensitive"});
  const Value attribute = p.Require(0).Get(0), otherwise = p.Get(1);
  const Value* const fallback = p.Has(1) && !otherwise.is_none() ? &otherwise : nullptr;
  std::vector<Keyed> keyed;
  for (const Value& item : rt->Iterate(value)) {
    const Value name = GetPath(rt, item, attribute, fallback);
    keyed.push_back({p.Bool(2, false) ? name : IgnoreCase(name), item});
    if (rt->failed()) return Value();
  }
  StableSort(rt, /*reverse=*/false, &keyed);
  std::vector<Value> groups, members;
  Value group_key;
  const auto end_group = [&] {
    if (members.empty() || rt->failed()) return;
    // In the letters of the first member.
    const Value name = GetPath(rt, members[0], attribute, fallback);
    groups.push_back(rt->MakeGroup(name, rt->MakeList(std::exchange(members, {}))));
  };
  for (const Keyed& k : keyed) {
    if (members.empty() || !Equals(rt, k.key, group_key)) {
      end_group();
      group_key = k.key;
    }
    members.push_back(k.item);
  }
  end_group();
  return rt->MakeList(std::move(groups));
}

Value Batch(Runtime* rt, const Value& value, Args args) {
  const Parameters p(rt, "batch", args, {"linecount", "fill_with"});
  const int64_t size = p.Require(0).Int(0, 1);
  if (size < 1 || !rt->Fits(size)) return rt->Fail("batch() needs a size of at least 1");
  std::vector<Value> batches, batch;
  for (const Value& item : rt->Iterate(value)) {
    if (static_cast<int64_t>(batch.size()) == size) {
      batches.push_back(rt->MakeList(std::exchange(batch, {})));
    }
    batch.push_back(item);
  }
  if (!batch.empty()) {
    if (p.Has(1) && !p.Get(1).is_none()) {
      rt->Step(size);
      if (!rt->failed()) batch.resize(size, p.Get(1));
    }
    batches.push_back(rt->MakeList(std::move(batch)));
  }
  return rt->MakeGenerator(std::move(batches));
}

Value Slice(Runtime* rt, const Value& value, Args args) {
  const Parameters p(rt, "slice", args, {"slices", "fill_with"});
  const int64_t count = p.Require(0).Int(0, 1);
  if (count < 1) return rt->Fail("slice() needs at least 1 slice");
  const std::vector<Value> items = rt->Iterate(value);
  rt->Step(count);
  if (rt->failed()) return Value();
  const int64_t size = static_cast<int64_t>(items.size());
  std::vector<Value> slices;
  int64_t begin = 0;
  for (int64_t i = 0; i < count; ++i) {
    const bool longer = i < size % count;
    const int64_t end = begin + size / count + longer;
    std::vector<Value> slice(items.begin() + begin, items.begin() + end);
    if (!longer && p.Has(1) && !p.Get(1).is_none()) slice.push_back(p.Get(1));
    slices.push_back(rt->MakeList(std::move(slice)));
    begin = end;
  }
  return rt->MakeGenerator(std::move(slices));
}

}  // namespace

const FilterTable& SequenceFilters() {
  static const auto* const filters = new FilterTable{
      {"length", Length}, {"count", Length}, {"first", First},       {"last", Last},
      {"list", List},     {"items", Items},  {"reverse", Reverse},   {"join", Join},
      {"sum", Sum},       {"sort", Sort},    {"dictsort", DictSort}, {"unique", Unique},
      {"min", Min},       {"max", Max},      {"groupby", GroupBy},   {"batch", Batch},
      {"slice", Slice},
  };
  return *filters;
}

}  // namespace tidal::jinja
