// The functions that chat templates call.
#include <ctime>
#include <utility>

#include "server/text/concat.h"
#include "server/text/jinja/builtins.h"
#include "server/text/jinja/operators.h"

namespace tidal::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // as in Jinja's sandbox

Value Range(Runtime* rt, const Arguments& arguments) {
  const auto& given = arguments.positional;
  if (given.empty() || given.size() > 3 || !arguments.named.empty()) {
    return rt->Fail("range() takes 1 to 3 numbers");
  }
  int64_t bounds[3] = {0, 0, 1};
  for (size_t i = 0; i < given.size(); ++i) {
    const auto number = given[i].IntOrBool();
    rt->FailIfUndefined(given[i]);
    if (!number.has_value()) {
      return rt->Fail(
          Concat("'", TypeName(given[i]), "' object cannot be interpreted as an integer"));
    }
    bounds[given.size() == 1 ? 1 : i] = *number;
  }
  const auto [start, stop, step] = bounds;
  if (step == 0) return rt->Fail("range() arg 3 must not be zero");
  std::vector<Value> items;
  for (int64_t at = start; step > 0 ? at < stop : at > stop;) {
    if (static_cast<int64_t>(items.size()) >= kMaxRange) {
      return rt->Fail(Concat("Range too big. The sandbox blocks ranges larger than MAX_RANGE (",
                             kMaxRange, ")."));
    }
    items.push_back(Value(at));
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  return rt->MakeList(std::move(items));
}

// A dict, or a list of pairs, and named values on top.
bool Fill(Runtime* rt, const Arguments& arguments, Dict* dict) {
  if (arguments.positional.size() > 1) {
    rt->Fail("at most one positional argument is expected");
    return false;
  }
  for (const Value& source : arguments.positional) {
    for (const Value& item : rt->Iterate(source)) {
      if (source.is_dict()) {
        dict->Set(item, *source.dict().Find(item));
      } else if (!item.is_sequence() || item.items().size() != 2 ||
                 !dict->Set(item.items()[0], item.items()[1])) {
        rt->Fail("a dict is made of a dict or of pairs with keys");
        return false;
      }
    }
  }
  for (const auto& [name, value] : arguments.named) dict->SetName(name, value);
  return !rt->failed();
}

Value MakeDictFrom(Runtime* rt, const Arguments& arguments) {
  Dict dict;
  return Fill(rt, arguments, &dict) ? rt->MakeDict(std::move(dict)) : Value();
}

Value MakeNamespaceFrom(Runtime* rt, const Arguments& arguments) {
  const NamespacePtr space = rt->MakeNamespace();
  return Fill(rt, arguments, &space->attributes) ? Value(space) : Value();
}

// An object that gives its values one after the other, again and again.
Value Cycler(Runtime* rt, const Arguments& arguments) {
  const Parameters none(rt, "cycler", {{}, arguments.named}, {});
  if (arguments.positional.empty()) return rt->Fail("at least one item has to be provided");
  const NamespacePtr cycler = rt->MakeNamespace();
  cycler->attributes.SetName("current", arguments.positional[0]);
  const auto position = std::make_shared<size_t>(0);
  const std::weak_ptr<Namespace> self = cycler;  // which holds the functions
  const auto move_to = [self, position, values = arguments.positional](size_t next) {
    *position = next % values.size();
    if (const NamespacePtr space = self.lock()) {
      space->attributes.SetName("current", values[*position]);
    }
  };
  const auto next = [move_to, position, values = arguments.positional](Runtime*, const Arguments&) {
    const Value value = values[*position];
    move_to(*position + 1);
    return value;
  };
  const auto reset = [move_to](Runtime*, const Arguments&) {
    move_to(0);
    return Value(nullptr);
  };
  cycler->attributes.SetName("next", std::make_shared<const Function>(Function{"next", next}));
  cycler->attributes.SetName("reset", std::make_shared<const Function>(Function{"reset", reset}));
  return cycler;
}

// A function that gives nothing the first time and the separator from then on.
Value Joiner(Runtime* rt, const Arguments& arguments) {
  const Parameters parameters(rt, "joiner", arguments, {"sep"});
  const auto call = [used = std::make_shared<bool>(false),
                     separator = parameters.Has(0) ? parameters.Get(0) : Value(", ")](
                        Runtime*, const Arguments&) {
    return std::exchange(*used, true) ? separator : Value("");
  };
  return Value(FunctionPtr(std::make_shared<const Function>(Function{"joiner", call})));
}

Value RaiseException(Runtime* rt, const Arguments& arguments) {
  const Parameters parameters(rt, "raise_exception", arguments, {"message"});
  return rt->FailPlainly(ToText(rt, parameters.Require(0).Get(0)));
}

Value StrftimeNow(Runtime* rt, const Arguments& arguments) {
  const Parameters parameters(rt, "strftime_now", arguments, {"format"});
  const std::string format = parameters.Require(0).String(0, "");
  if (rt->failed() || format.empty()) return Value("");
  constexpr size_t kMaxBytes = 4096;
  const std::time_t time = std::chrono::system_clock::to_time_t(rt->now());
  std::tm local{};
  localtime_r(&time, &local);
  std::string text(kMaxBytes, '\0');
  // A space in front: otherwise an empty result and one that is too long look the same.
  const size_t length = std::strftime(text.data(), text.size(), (" " + format).c_str(), &local);
  if (length == 0) return rt->Fail("strftime_now() got a format that is too long");
  return rt->MakeString(text.substr(1, length - 1));
}

Value MakeFunction(const char* name, Value (*call)(Runtime*, const Arguments&)) {
  return Value(FunctionPtr(std::make_shared<const Function>(Function{name, call})));
}

}  // namespace

Value FindGlobal(const std::string& name) {
  static const auto* const globals = new std::unordered_map<std::string, Value>{
      {"range", MakeFunction("range", Range)},
      {"dict", MakeFunction("dict", MakeDictFrom)},
      {"cycler", MakeFunction("cycler", Cycler)},
      {"joiner", MakeFunction("joiner", Joiner)},
      {"namespace", MakeFunction("namespace", MakeNamespaceFrom)},
      {"raise_exception", MakeFunction("raise_exception", RaiseException)},
      {"strftime_now", MakeFunction("strftime_now", StrftimeNow)},
  };
  const auto it = globals->find(name);
  return it == globals->end() ? Value() : it->second;
}

}  // namespace tidal::jinja
