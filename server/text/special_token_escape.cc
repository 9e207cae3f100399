#include "server/text/special_token_escape.h"

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "server/text/utf8.h"

namespace tidal {
namespace {

using jinja::Dict;
using jinja::Value;

// Templates write special tokens around these, or with them: <|user|>.
constexpr std::array<std::string_view, 6> kRoles = {"system",    "developer", "user",
                                                    "assistant", "tool",      "function"};

using StringMap = std::function<std::string(const std::string&)>;

Value Map(const Value& value, const StringMap& map) {
  if (value.is_string()) return Value(map(value.string()));
  if (value.is_list()) {
    std::vector<Value> items;
    for (const Value& item : value.items()) items.push_back(Map(item, map));
    return Value::List(std::move(items));
  }
  if (!value.is_dict()) return value;
  Dict dict;
  for (const auto& [key, member] : value.dict().entries()) {
    dict.Set(Map(key, map), Map(member, map));
  }
  return Value(std::make_shared<const Dict>(std::move(dict)));
}

void MapEach(const StringMap& map, std::vector<Value>* values) {
  for (Value& value : *values) value = Map(value, map);
}

bool IsKnownRole(std::string_view role) {
  return std::find(kRoles.begin(), kRoles.end(), role) != kRoles.end();
}

// `map` for all strings but roles, which get `map_role`.
void MapStrings(const StringMap& map, const StringMap& map_role, ChatTemplateInput* input) {
  for (ChatTurn& turn : input->messages) {
    if (!IsKnownRole(turn.role)) turn.role = map_role(turn.role);
    for (std::string& text : turn.content) text = map(text);
    for (std::string* text : {&turn.name, &turn.reasoning, &turn.tool_call_id}) *text = map(*text);
    MapEach(map, &turn.tool_calls);
  }
  MapEach(map, &input->tools);
  MapEach(map, &input->documents);
  Dict variables;
  for (const auto& [name, value] : input->variables.entries()) {
    variables.Set(name, Map(value, map));
  }
  input->variables = std::move(variables);
}

std::string ValidUtf8(const std::string& text) {
  if (!FindInvalidUtf8(text).has_value()) return text;
  std::string valid;
  AppendLossyUtf8(text, /*keep_incomplete=*/false, &valid);
  return valid;
}

class Escaper {
 public:
  explicit Escaper(const SpecialTokenTexts& special) : special_(special) {}

  absl::StatusOr<StandIns> Run(ChatTemplateInput* input) {
    // First what the strings have, which cannot stand for anything else.
    const StringMap note = [this](const std::string& text) {
      std::string valid = ValidUtf8(text);
      NoteLastPlane(valid);
      return valid;
    };
    MapStrings(note, note, input);
    MapStrings([this](const std::string& text) { return Escape(text, special_.FindIn(text)); },
               [this](const std::string& role) { return EscapeRole(role); }, input);
    if (exhausted_) {
      return absl::InvalidArgumentError("must leave a code point from U+100000 to U+10FFFD unused");
    }
    return std::move(stand_ins_);
  }

 private:
  void NoteLastPlane(std::string_view text) {
    for (size_t at = text.find('\xF4'); at != text.npos; at = text.find('\xF4', at + 1)) {
      taken_.insert(ReadUtf8(text.substr(at)).code_point);
    }
  }

  std::string EscapeRole(const std::string& role) {
    std::vector<size_t> offsets = special_.FindIn(role);
    // "<|" and "|>" may be the template's.
    if (!role.empty() && special_.HavePart(role)) offsets = {0};
    return Escape(role, offsets);
  }

  std::string Escape(const std::string& text, const std::vector<size_t>& offsets) {
    if (offsets.empty()) return text;
    std::string escaped;
    size_t done = 0;
    for (const size_t at : offsets) {
      const size_t length = ReadUtf8(std::string_view(text).substr(at)).length;
      escaped.append(text, done, at - done);
      AppendUtf8(StandInFor(text.substr(at, length)), &escaped);
      done = at + length;
    }
    return escaped.append(text, done);
  }

  char32_t StandInFor(const std::string& original) {
    const auto [it, is_new] = stand_in_of_.try_emplace(original, next_);
    if (!is_new) return it->second;
    while (next_ <= StandIns::kLast && taken_.contains(next_)) ++next_;
    if (next_ > StandIns::kLast) {
      exhausted_ = true;
      return StandIns::kLast;
    }
    it->second = next_++;
    stand_ins_.Add(it->second, original);
    return it->second;
  }

  const SpecialTokenTexts& special_;
  absl::flat_hash_set<char32_t> taken_;  // in the strings; those of the last plane
  absl::flat_hash_map<std::string, char32_t> stand_in_of_;
  char32_t next_ = StandIns::kFirst;
  bool exhausted_ = false;
  StandIns stand_ins_;
};

}  // namespace

absl::StatusOr<StandIns> EscapeSpecialTokens(const SpecialTokenTexts& special,
                                             ChatTemplateInput* input) {
  return Escaper(special).Run(input);
}

}  // namespace tidal
