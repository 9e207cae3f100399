#include "server/text/jinja/runtime.h"

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

Value Runtime::MakeString(std::string text) {
  const int64_t size = static_cast<int64_t>(text.size());
  produced_bytes_ += size;
  if (!Fits(size)) {
    return Exhausted(Concat("a string of more than ", limits_.string_bytes, " bytes"));
  }
  if (produced_bytes_ > limits_.produced_bytes) {
    return Exhausted(Concat("strings of more than ", limits_.produced_bytes, " bytes together"));
  }
  return Value(std::move(text));
}

Value Runtime::MakeList(std::vector<Value> items) {
  Step(static_cast<int64_t>(items.size()));
  Value list = Value::List(std::move(items));
  return list.depth() > Value::kMaxDepth ? Exhausted("values nested too deeply") : list;
}

Value Runtime::MakeTuple(std::vector<Value> items) {
  Step(static_cast<int64_t>(items.size()));
  Value tuple = Value::Tuple(std::move(items));
  return tuple.depth() > Value::kMaxDepth ? Exhausted("values nested too deeply") : tuple;
}

Value Runtime::MakeDict(Dict dict) {
  Step(static_cast<int64_t>(dict.size()));
  if (dict.depth() > Value::kMaxDepth) return Exhausted("values nested too deeply");
  return Value(std::make_shared<const Dict>(std::move(dict)));
}

NamespacePtr Runtime::MakeNamespace() {
  namespaces_.push_back(std::make_shared<Namespace>());
  return namespaces_.back();
}

void Runtime::ReleaseNamespaces() {
  for (const NamespacePtr& space : namespaces_) space->attributes = Dict();
  namespaces_.clear();
}

std::vector<Value> Runtime::Iterate(const Value& value) {
  std::vector<Value> items;
  if (value.is_sequence()) {
    items = value.items();
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
