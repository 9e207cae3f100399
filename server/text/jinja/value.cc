#include "server/text/jinja/value.h"

#include <algorithm>
#include <cmath>

namespace tidal::jinja {
namespace {

int DepthAround(const std::vector<Value>& items) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  return depth + 1;
}

Value MakeSequence(std::vector<Value> items, bool tuple) {
  const int depth = DepthAround(items);
  return Value(std::make_shared<const Sequence>(Sequence{std::move(items), tuple, depth}));
}

// Tuples within tuples can be far longer as text than in memory.
constexpr size_t kMaxKeyBytes = 64 << 20;

// Keys that compare equal have the same text: 1, 1.0 and True are one key. False: not hashable.
bool AppendKey(const Value& key, std::string* text) {
  if (key.is_string()) {
    text->append(std::to_string(key.string().size())).append("s").append(key.string());
  } else if (const auto integer = key.IntOrBool(); integer.has_value()) {
    text->append(std::to_string(*integer)).append("n");
  } else if (key.is_float()) {
    const double number = key.floating();
    const bool whole = std::abs(number) < 9e15 && number == std::floor(number);
    text->append(whole ? std::to_string(static_cast<int64_t>(number)) : std::to_string(number));
    text->append("n");
  } else if (key.is_none()) {
    text->append("None");
  } else if (key.is_undefined()) {
    text->append("Undefined");
  } else if (key.is_tuple()) {
    text->append("(");
    for (const Value& item : key.items()) {
      if (text->size() > kMaxKeyBytes || !AppendKey(item, text)) return false;
    }
    text->append(")");
  } else if (key.identity() != nullptr) {
    text->append(std::to_string(reinterpret_cast<uintptr_t>(key.identity()))).append("p");
  } else {
    return false;
  }
  return true;
}

}  // namespace

Value Value::List(std::vector<Value> items) { return MakeSequence(std::move(items), false); }
Value Value::Tuple(std::vector<Value> items) { return MakeSequence(std::move(items), true); }

Value Value::Group(Value grouper, Value list) {
  std::vector<Value> items = {std::move(grouper), std::move(list)};
  const int depth = DepthAround(items);
  return Value(std::make_shared<const Sequence>(Sequence{std::move(items), true, depth, true}));
}

Value Value::View(std::vector<Value> items, std::string_view type_name) {
  const int depth = DepthAround(items);
  return Value(std::make_shared<const Stream>(Stream{std::move(items), type_name, false, depth}));
}

Value Value::Generator(std::vector<Value> items, std::string_view type_name) {
  const int depth = DepthAround(items);
  return Value(std::make_shared<const Stream>(Stream{std::move(items), type_name, true, depth}));
}

Value Value::Missing(std::string message) {
  Value value;
  value.data_ = Undefined{std::make_shared<const std::string>(std::move(message))};
  return value;
}

bool Value::is_list() const { return is_sequence() && !std::get<SequencePtr>(data_)->tuple; }
bool Value::is_tuple() const { return is_sequence() && std::get<SequencePtr>(data_)->tuple; }
bool Value::is_group() const { return is_sequence() && std::get<SequencePtr>(data_)->group; }
const std::vector<Value>& Value::items() const { return std::get<SequencePtr>(data_)->items; }

std::optional<int64_t> Value::IntOrBool() const {
  if (is_int()) return integer();
  if (is_bool()) return boolean() ? 1 : 0;
  return std::nullopt;
}

double Value::AsDouble() const {
  return is_float() ? floating() : static_cast<double>(IntOrBool().value_or(0));
}

bool Value::Truth() const {
  if (is_undefined() || is_none()) return false;
  if (is_number()) return is_float() ? floating() != 0 : *IntOrBool() != 0;
  if (is_string()) return !string().empty();
  if (is_sequence()) return !items().empty();
  if (is_dict()) return dict().size() > 0;
  if (is_stream()) return stream().once || !stream().items.empty();
  return true;
}

std::string Value::UndefinedMessage() const {
  const StringPtr& message = std::get<Undefined>(data_).message;
  return message == nullptr ? "the value is undefined" : *message;
}

int Value::depth() const {
  if (is_sequence()) return std::get<SequencePtr>(data_)->depth;
  if (is_stream()) return stream().depth;
  return is_dict() ? dict().depth() : 0;
}

const void* Value::identity() const {
  if (is_namespace()) return name_space().get();
  if (is_function()) return function().get();
  if (is_stream()) return &stream();
  return is_loop() ? std::get<LoopPtr>(data_).get() : nullptr;
}

bool Dict::Set(const Value& key, Value value) {
  std::string text;
  if (!AppendKey(key, &text)) return false;
  depth_ = std::max({depth_, value.depth() + 1, key.depth() + 1});
  const auto [it, added] = index_.try_emplace(std::move(text), entries_.size());
  if (added) {
    entries_.emplace_back(key, std::move(value));
  } else {
    entries_[it->second].second = std::move(value);
  }
  return true;
}

const Value* Dict::Find(const Value& key) const {
  std::string text;
  if (!AppendKey(key, &text)) return nullptr;
  const auto it = index_.find(text);
  return it == index_.end() ? nullptr : &entries_[it->second].second;
}

const Value* Dict::FindName(std::string_view key) const { return Find(Value(std::string(key))); }

}  // namespace tidal::jinja
