#include "server/openai/raw_json.h"

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"
#include "nlohmann/json.hpp"

namespace tidal {
namespace {

class Cursor {
 public:
  explicit Cursor(absl::string_view text) : text_(text) {
    absl::ConsumePrefix(&text_, "\xEF\xBB\xBF");  // the parser allows the mark of UTF-8
  }

  // The next character that is not white space; 0 at the end.
  char Peek() {
    while (at_ < text_.size() && absl::ascii_isspace(text_[at_])) ++at_;
    return at_ < text_.size() ? text_[at_] : 0;
  }
  // Whether that is `c`, which is then passed.
  bool Skip(char c) {
    const bool is = Peek() == c;
    if (is) ++at_;
    return is;
  }

  // A whole value, which is passed.
  absl::string_view Value() {
    Peek();
    const size_t begin = at_;
    int depth = 0;
    do {
      const char c = Peek();
      if (c == '"') {
        PassString();
      } else if (c == '[' || c == '{') {
        ++depth;
        ++at_;
      } else if (c == ']' || c == '}') {
        --depth;
        ++at_;
      } else if (depth > 0) {  // within a container commas, colons and the rest all just pass
        ++at_;
      } else {
        PassScalar();
      }
    } while (depth > 0 && at_ < text_.size());
    return text_.substr(begin, at_ - begin);
  }

 private:
  void PassString() {
    for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      if (text_[at_] == '\\') ++at_;
    }
    ++at_;
  }
  void PassScalar() {
    constexpr absl::string_view kEnds = ",]} \t\r\n";
    while (at_ < text_.size() && kEnds.find(text_[at_]) == absl::string_view::npos) ++at_;
  }

  absl::string_view text_;
  size_t at_ = 0;
};

bool IsNamed(absl::string_view quoted, absl::string_view name) {
  if (quoted.find('\\') == absl::string_view::npos) {
    return quoted.size() == name.size() + 2 && quoted.substr(1, name.size()) == name;
  }
  const auto key = nlohmann::json::parse(quoted.begin(), quoted.end(), nullptr,
                                         /*allow_exceptions=*/false);
  return key.is_string() && key.get_ref<const std::string&>() == name;
}

}  // namespace

std::vector<absl::string_view> RawMembers(absl::string_view object,
                                          const std::vector<const char*>& names) {
  std::vector<absl::string_view> found(names.size());
  Cursor cursor(object);
  if (!cursor.Skip('{')) return found;
  while (cursor.Peek() == '"') {
    const absl::string_view key = cursor.Value();
    cursor.Skip(':');
    const absl::string_view value = cursor.Value();
    for (size_t i = 0; i < names.size(); ++i) {
      if (IsNamed(key, names[i])) found[i] = value;
    }
    cursor.Skip(',');
  }
  return found;
}

absl::string_view RawMember(absl::string_view object, const char* name) {
  return RawMembers(object, {name})[0];
}

std::vector<absl::string_view> RawElements(absl::string_view array) {
  std::vector<absl::string_view> elements;
  Cursor cursor(array);
  if (!cursor.Skip('[')) return elements;
  while (cursor.Peek() != ']' && cursor.Peek() != 0) {
    elements.push_back(cursor.Value());
    cursor.Skip(',');
  }
  return elements;
}

std::string OnOneLine(absl::string_view json) {
  std::string line;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (c == '"') in_string = !in_string;
    if (in_string && c == '\\') line += json[i++];
    if (in_string || !absl::ascii_isspace(c)) line += json[i];
  }
  return line;
}

}  // namespace tidal
