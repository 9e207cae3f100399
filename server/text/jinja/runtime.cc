#include "server/text/jinja/runtime.h"

#include <algorithm>
#include <utility>

#include "server/text/concat.h"
#include "server/text/jinja/operators.h"
#include "server/text/jinja/python_string.h"

namespace tidal::jinja {

Value Runtime::Fail(std::string message) {
  if (!failed()) status_ = absl::InvalidArgumentError(Concat(Where(), message));
  return Value();
}

Value Runtime::FailPlainly(std::string message) {
  if (!failed()) status_ = absl::InvalidArgumentError(message);
  return Value();
}

Value Runtime::Exhausted(std::string message) {
  if (!failed()) status_ = absl::ResourceExhaustedError(Concat(Where(), message));
  return Value();
}

Value Runtime::FailIfUndefined(const Value& value) {
  return value.is_undefined() ? Fail(value.UndefinedMessage()) : value;
}

void Runtime::Step(int64_t count) {
  steps_ += count;
  if (steps_ > limits_.steps) Exhausted(Concat("more than ", limits_.steps, " steps"));
}

Value Runtime::MakeString(std::string text, bool escaped) {
  const int64_t size = static_cast<int64_t>(text.size());
  produced_bytes_ += size;
  if (!Fits(size)) {
    return Exhausted(Concat("a string of more than ", limits_.string_bytes, " bytes"));
  }
  if (produced_bytes_ > limits_.produced_bytes) {
    return Exhausted(Concat("strings of more than ", limits_.produced_bytes, " bytes together"));
  }
  return Value(std::move(text), escaped);
}

Value Runtime::CheckMade(Value value, size_t items) {
  Step(static_cast<int64_t>(items));
  return value.depth() > Value::kMaxDepth ? Exhausted("values nested too deeply") : value;
}

Value Runtime::MakeList(std::vector<Value> items) {
  const size_t count = items.size();
  return CheckMade(Value::List(std::move(items)), count);
}

Value Runtime::MakeTuple(std::vector<Value> items) {
  const size_t count = items.size();
  return CheckMade(Value::Tuple(std::move(items)), count);
}

Value Runtime::MakeGroup(Value grouper, Value list) {
  return CheckMade(Value::Group(std::move(grouper), std::move(list)), 1);
}

Value Runtime::MakeGenerator(std::vector<Value> items, std::string_view type_name) {
  const size_t count = items.size();
  return CheckMade(Value::Generator(std::move(items), type_name), count);
}

Value Runtime::MakeView(std::vector<Value> items, std::string_view type_name) {
  const size_t count = items.size();
  return CheckMade(Value::View(std::move(items), type_name), count);
}

Value Runtime::MakeDict(Dict dict) {
  const size_t count = dict.size();
  return CheckMade(Value(std::make_shared<const Dict>(std::move(dict))), count);
}

NamespacePtr Runtime::MakeNamespace() {
  namespaces_.push_back(std::make_shared<Namespace>());
  return namespaces_.back();
}

void Runtime::ReleaseNamespaces() {
  for (const NamespacePtr& space : namespaces_) space->attributes = Dict();
  namespaces_.clear();
}

std::vector<Value> Runtime::Iterate(const Value& value, size_t most) {
  std::vector<Value> items;
  if (value.is_sequence()) {
    items = value.items();
  } else if (value.is_stream()) {
    const Stream& stream = value.stream();
    const size_t count = std::min(stream.items.size() - stream.taken, most);
    const auto begin = stream.items.begin() + static_cast<int64_t>(stream.taken);
    items.assign(begin, begin + static_cast<int64_t>(count));
    if (stream.once) stream.taken += count;
  } else if (value.is_dict()) {
    for (const Dict::Entry& entry : value.dict().entries()) items.push_back(entry.first);
  } else if (value.is_string()) {
    for (const std::string_view c : CodePoints(value.string())) {
      items.push_back(Value(std::string(c)));
    }
  } else if (!value.is_undefined()) {
    Fail(Concat("'", TypeName(value), "' object is not iterable"));
  }
  Step(static_cast<int64_t>(items.size()));
  return items;
}

}  // namespace tidal::jinja
