#include "server/responses/custom_input.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/responses/response_tools.h"

namespace tidal {
namespace {

// White space may stand between any two of its characters but those of the name.
const std::string& Beginning() {
  static const std::string* const kBeginning =
      new std::string(absl::StrCat("{\"", kCustomInput, "\":\""));
  return *kBeginning;
}

}  // namespace

void CustomInput::MatchBeginning(char c) {
  const std::string& beginning = Beginning();
  const bool in_name = matched_ >= 2 && matched_ + 2 < beginning.size();
  if (absl::ascii_isspace(c) && !in_name) return;
  if (c != beginning[matched_]) {
    state_ = State::kOther;
  } else if (++matched_ == beginning.size()) {
    state_ = State::kText;
  }
}

std::string CustomInput::Append(absl::string_view arguments) {
  std::string text;
  for (const char c : arguments) {
    if (state_ == State::kText) {
      if (decoder_.Feed(c, &text) == ScanResult::kEnd) state_ = State::kAfter;
      continue;
    }
    if (state_ == State::kAfter) break;  // what follows the text says nothing
    whole_ += c;
    if (state_ == State::kBefore) MatchBeginning(c);
  }
  return text;
}

std::string CustomInput::Finish() {
  if (state_ == State::kText || state_ == State::kAfter) return "";
  const auto json = nlohmann::json::parse(whole_, nullptr, /*allow_exceptions=*/false);
  if (json.is_string()) return json.get<std::string>();
  const auto input = json.is_object() ? json.find(kCustomInput) : json.end();
  if (json.is_object() && input != json.end() && input->is_string()) {
    return input->get<std::string>();
  }
  return std::move(whole_);
}

}  // namespace tidal
