// value.name, value[key] and value[start:stop:step].
#include <algorithm>
#include <array>
#include <utility>

#include "server/text/concat.h"
#include "server/text/jinja/builtins.h"
#include "server/text/jinja/interpreter.h"
#include "server/text/jinja/operators.h"
#include "server/text/jinja/python_string.h"

namespace tidal::jinja {
namespace {

std::string ObjectName(const Value& value) {
  if (value.is_none()) return "None";
  if (value.is_namespace()) return "jinja2.utils.Namespace object";
  if (value.is_loop()) return "jinja2.runtime.LoopContext object";
  return Concat(TypeName(value), " object");
}

Value NoAttribute(const Value& value, const std::string& name) {
  return Value::Missing(Concat("'", ObjectName(value), "' has no attribute ", QuoteString(name)));
}

// What would change a value: the sandbox keeps templates from it.
bool IsMutator(const Value& value, std::string_view name) {
  constexpr std::string_view kList[] = {"append", "clear",  "extend",  "insert",
                                        "pop",    "remove", "reverse", "sort"};
  constexpr std::string_view kDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  if (value.is_list())
    return std::find(std::begin(kList), std::end(kList), name) != std::end(kList);
  return value.is_dict() && std::find(std::begin(kDict), std::end(kDict), name) != std::end(kDict);
}

MethodFn FindMethod(const Value& value, const std::string& name) {
  if (value.is_string()) return FindStringMethod(name);
  if (value.is_dict()) return FindDictMethod(name);
  return value.is_sequence() ? FindSequenceMethod(name) : nullptr;
}

Value Bind(const Value& self, const std::string& name, MethodFn method) {
  auto function = std::make_shared<Function>();
  function->name = name;
  function->call = [self, name, method](Runtime* rt, const Arguments& arguments) {
    return self.is_escaped() ? CallOnEscaped(rt, name, method, self, arguments)
                             : method(rt, self, arguments);
  };
  return Value(FunctionPtr(std::move(function)));
}

// The value of loop.cycle(a, b, ...) and loop.changed(a, ...).
Value LoopFunction(const Value& loop, const std::string& name) {
  if (name == "cycle") {
    return Bind(loop, name, [](Runtime* rt, const Value& self, const Arguments& arguments) {
      const auto& values = arguments.positional;
      if (values.empty()) return rt->Fail("no items for cycling given");
      return values[self.loop().index0 % values.size()];
    });
  }
  return Bind(loop, name, [](Runtime* rt, const Value& self, const Arguments& arguments) {
    const Value now = rt->MakeTuple(arguments.positional);
    Value* const before = self.loop().before.get();
    const bool changed = before->is_undefined() || !Equals(rt, *before, now);
    *before = now;
    return Value(changed);
  });
}

Value LoopAttribute(const Value& value, const std::string& name) {
  const LoopState& loop = value.loop();
  const auto& items = loop.items->items;
  const auto index0 = static_cast<int64_t>(loop.index0), count = static_cast<int64_t>(items.size());
  if (name == "index") return Value(index0 + 1);
  if (name == "index0") return Value(index0);
  if (name == "revindex") return Value(count - index0);
  if (name == "revindex0") return Value(count - index0 - 1);
  if (name == "first") return Value(index0 == 0);
  if (name == "last") return Value(index0 + 1 == count);
  if (name == "length") return Value(count);
  if (name == "depth") return Value(int64_t{loop.depth0} + 1);
  if (name == "depth0") return Value(int64_t{loop.depth0});
  if (name == "previtem") {
    return index0 > 0 ? items[index0 - 1] : Value::Missing("there is no previous item");
  }
  if (name == "nextitem") {
    return index0 + 1 < count ? items[index0 + 1] : Value::Missing("there is no next item");
  }
  return name == "cycle" || name == "changed" ? LoopFunction(value, name)
                                              : NoAttribute(value, name);
}

}  // namespace

Value Interpreter::GetAttribute(const Value& value, const std::string& name) {
  if (failed()) return Value();
  if (value.is_undefined()) return FailIfUndefined(value);
  if (value.is_loop()) return LoopAttribute(value, name);
  if (value.is_namespace()) {
    const Value* found = value.name_space()->attributes.FindName(name);
    return found == nullptr ? NoAttribute(value, name) : *found;
  }
  if (value.is_group() && (name == "grouper" || name == "list")) {
    return value.items()[name == "list"];
  }
  if (value.is_function() && name == "name") return Value(value.function()->name);
  if (const MethodFn method = FindMethod(value, name)) return Bind(value, name, method);
  if (IsMutator(value, name) || name.starts_with("__")) {
    return Value::Missing(Concat("access to attribute ", QuoteString(name), " of '",
                                 TypeName(value), "' object is unsafe."));
  }
  if (value.is_dict()) {
    if (const Value* found = value.dict().FindName(name)) return *found;
  }
  return NoAttribute(value, name);
}

Value Interpreter::GetItem(const Value& value, const Value& key) {
  if (failed()) return Value();
  if (value.is_undefined()) return FailIfUndefined(value);
  if (value.is_dict()) {
    if (const Value* found = value.dict().Find(key)) return *found;
  }
  const auto index = key.IntOrBool();
  if (index.has_value() && value.is_sequence()) {
    const auto& items = value.items();
    const int64_t count = static_cast<int64_t>(items.size());
    const int64_t at = *index < 0 ? *index + count : *index;
    if (at >= 0 && at < count) return items[at];
  }
  if (index.has_value() && value.is_string()) {
    const std::string& text = value.string();
    Step(static_cast<int64_t>(text.size() / 64));
    const int64_t count = CodePointCount(text);
    const int64_t at = *index < 0 ? *index + count : *index;
    if (at >= 0 && at < count) {
      const size_t begin = CodePointOffset(text, at);
      const size_t size = CodePointOffset(std::string_view(text).substr(begin), 1);
      return Value(text.substr(begin, size), value.is_escaped());
    }
  }
  if (key.is_string()) return GetAttribute(value, key.string());
  std::string shown;
  AppendRepr(this, key, &shown);
  return Value::Missing(Concat(ObjectName(value), " has no element ", shown));
}

Value Interpreter::Slice(const Value& value, const Expr& slice) {
  std::array<std::optional<int64_t>, 3> bounds;  // start, stop, step
  for (int i = 0; i < 3; ++i) {
    if (slice.items[i] == nullptr) continue;
    const Value bound = Evaluate(*slice.items[i]);
    if (bound.is_none()) continue;
    bounds[i] = bound.IntOrBool();
    if (!bounds[i].has_value()) {
      FailIfUndefined(bound);
      return Fail("slice indices must be integers or None");
    }
  }
  at_ = slice.at;
  if (value.is_undefined()) return FailIfUndefined(value);
  if (!value.is_string() && !value.is_sequence()) {
    return Fail(Concat("'", TypeName(value), "' object cannot be sliced"));
  }
  const int64_t step = bounds[2].value_or(1);
  if (step == 0) return Fail("slice step cannot be zero");
  std::vector<Value> characters;
  if (value.is_string()) characters = Iterate(value);
  const std::vector<Value>& items = value.is_string() ? characters : value.items();
  const int64_t count = static_cast<int64_t>(items.size());
  // Bounds count from the end when negative, and are then kept to the sequence.
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? count : count - 1;
  const auto clamp = [&](const std::optional<int64_t>& bound, int64_t otherwise) {
    if (!bound.has_value()) return otherwise;
    return std::clamp(*bound < 0 ? *bound + count : *bound, low, high);
  };
  const int64_t start = clamp(bounds[0], step > 0 ? low : high);
  const int64_t stop = clamp(bounds[1], step > 0 ? high : low);
  std::vector<Value> kept;
  for (int64_t at = start; step > 0 ? at < stop : at > stop;) {
    kept.push_back(items[at]);
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  if (value.is_tuple()) return MakeTuple(std::move(kept));
  if (value.is_list()) return MakeList(std::move(kept));
  std::string text;
  for (const Value& character : kept) text += character.string();
  return MakeString(std::move(text), value.is_escaped());
}

}  // namespace tidal::jinja
