#include "server/reply/raw_value.h"

#include <array>

#include "server/reply/characters.h"
#include "server/reply/json_text.h"

namespace tidal {
namespace {

// Constants of Python and what they are in JSON: models mix them up.
struct Word {
  std::string_view python, json;
  JsonTypes::Type type;
};
constexpr std::array<Word, 3> kWords = {{{"True", "true", JsonTypes::kBoolean},
                                         {"False", "false", JsonTypes::kBoolean},
                                         {"None", "null", JsonTypes::kNull}}};

// With the space around it: held longer, it would be looked at over and over.
constexpr size_t kMaxLiteral = 64;

JsonTypes::Type TypeOfLiteral(char first) {
  switch (first) {
    case '{':
      return JsonTypes::kObject;
    case '[':
      return JsonTypes::kArray;
    case 't':
    case 'f':
      return JsonTypes::kBoolean;
    case 'n':
      return JsonTypes::kNull;
    case '"':
      return JsonTypes::kString;
    default:
      return JsonTypes::kNumber;
  }
}

// Whether a literal that begins so is one of the types. Null stands for a value left out, whatever
// the schema says, unless it may be a text.
bool Allows(JsonTypes types, JsonTypes::Type type) {
  if (type == JsonTypes::kString) return false;  // raw text has no quotes
  return types.Has(type) || (type == JsonTypes::kNull && !types.Has(JsonTypes::kString));
}

}  // namespace

void RawValue::Feed(char c, std::string* json) {
  if (at_start_) {
    at_start_ = false;
    if (types_.IsText()) BecomeString(json);
    if (c == '\n') return;
  }
  if (newline_) Take('\n', json);
  newline_ = c == '\n';
  if (!newline_) Take(c, json);
}

void RawValue::Finish(std::string* json) {
  if (form_ == Form::kUndecided) {
    const std::string_view literal = AsLiteral();
    if (!literal.empty()) {
      *json += literal;
      return;
    }
    BecomeString(json);
  }
  if (form_ == Form::kString) *json += '"';
}

void RawValue::BreakOff(std::string* json) {
  if (form_ != Form::kUndecided) return;
  if (scanner_.valid() && !TrimSpace(held_).empty()) {
    *json += held_;
  } else if (!at_start_) {
    BecomeString(json);
  }
}

void RawValue::Take(char c, std::string* json) {
  switch (form_) {
    case Form::kString:
      AppendJsonEscaped(c, json);
      return;
    case Form::kLiteral:
      *json += c;
      return;
    case Form::kUndecided:
      break;
  }
  held_ += c;
  if (scanner_.Feed(c) == ScanResult::kEndBefore) scanner_.Feed(c);
  if (!MayBeLiteral()) {
    BecomeString(json);
  } else if (held_.size() >= kMaxHeld) {
    if (scanner_.first() == '{' || scanner_.first() == '[') {
      form_ = Form::kLiteral;
      *json += held_;
      held_ = {};
    } else {
      BecomeString(json);  // space, or a number of thousands of digits
    }
  }
}

bool RawValue::MayBeLiteral() {
  if (scanner_.first() == 0) return true;  // only space so far
  if (scanner_.valid()) return Allows(types_, TypeOfLiteral(scanner_.first()));
  if (held_.size() > kMaxLiteral) return false;
  const std::string_view text = TrimSpace(held_);
  for (const Word& word : kWords) {
    if (word.python.starts_with(text) && Allows(types_, word.type)) return true;
  }
  return false;
}

std::string_view RawValue::AsLiteral() {
  const std::string_view text = TrimSpace(held_);
  if (text.empty()) return {};
  for (const Word& word : kWords) {
    if (text == word.python) return word.json;
  }
  return scanner_.Finish() ? text : std::string_view();
}

void RawValue::BecomeString(std::string* json) {
  form_ = Form::kString;
  *json += '"';
  for (const char c : held_) AppendJsonEscaped(c, json);
  held_ = {};
}

}  // namespace tidal
