#include "server/config/config_file.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <fstream>
#include <optional>
#include <sstream>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "server/config/quoted.h"

namespace tidal {
namespace {

absl::Status ErrorAt(absl::string_view name, int line, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(name, ":", line, ": ", what));
}

absl::Status TooLarge(absl::string_view name) {
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": must be at most ", kMaxConfigBytes, " bytes"));
}

// Builds entries from what the parser reads, so that no document is ever held as a tree: an alias
// is refused where it stands and expands to nothing. After the first mistake it ignores the rest.
class EntryBuilder : public YAML::EventHandler {
 public:
  explicit EntryBuilder(absl::string_view name) : name_(name) {}

  bool ok() const { return error_.ok(); }
  absl::StatusOr<std::vector<ConfigEntry>> Finish() && {
    if (!error_.ok()) return error_;
    return std::move(entries_);
  }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) Fail(mark, "must be one document, got another");
  }
  void OnDocumentEnd() override {}
  void OnMapEnd() override {}
  void OnAnchor(const YAML::Mark& mark, const std::string&) override {
    Fail(mark, "anchors are not supported");
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Fail(mark, "aliases are not supported");
  }

  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    if (place_ == Place::kDocument) return;  // nothing in it
    if (place_ == Place::kKey) return Fail(mark, "a key must be the name of a flag, got nothing");
    // The parser's mark is where it saw that there is none.
    FailInLine(entries_.back().line,
               absl::StrCat(Key(), ": must have a value; \"\" is the empty one"));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& value) override {
    if (!CheckTag(mark, tag)) return;
    switch (place_) {
      case Place::kDocument:
        return Fail(mark, "must be a mapping of flags to values, got one value");
      case Place::kKey:
        return AddKey(mark, value);
      case Place::kValue:
        entries_.back().values.push_back(value);
        place_ = Place::kKey;
        return;
      case Place::kList:
        entries_.back().values.push_back(value);
    }
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    if (!CheckTag(mark, tag)) return;
    switch (place_) {
      case Place::kDocument:
        return Fail(mark, "must be a mapping of flags to values, got a list");
      case Place::kKey:
        return Fail(mark, "a key must be the name of a flag, got a list");
      case Place::kValue:
        entries_.back().is_list = true;
        place_ = Place::kList;
        return;
      case Place::kList:
        return Fail(mark, absl::StrCat(Key(), ": must be a list of values, got a list in it"));
    }
  }
  void OnSequenceEnd() override { place_ = Place::kKey; }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    if (!CheckTag(mark, tag)) return;
    if (place_ == Place::kKey) return Fail(mark, "a key must be the name of a flag, got a mapping");
    if (place_ != Place::kDocument) {
      return Fail(mark, absl::StrCat(Key(), ": must be a value or a list, got a mapping"));
    }
    place_ = Place::kKey;
  }

 private:
  enum class Place { kDocument, kKey, kValue, kList };  // what comes next

  std::string Key() const { return Quoted(entries_.back().key); }

  void Fail(const YAML::Mark& mark, absl::string_view what) { FailInLine(mark.line + 1, what); }

  void FailInLine(int line, absl::string_view what) {
    if (error_.ok()) error_ = ErrorAt(name_, line, what);
  }

  // "?" is a plain scalar's or a collection's without one, "!" a quoted scalar's.
  bool CheckTag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!") Fail(mark, "tags are not supported");
    return error_.ok();
  }

  void AddKey(const YAML::Mark& mark, const std::string& key) {
    const int line = mark.line + 1;
    const auto [place, is_new] = lines_.emplace(key, line);
    if (!is_new) {
      return Fail(mark, absl::StrCat(Quoted(key), ": is already on line ", place->second));
    }
    entries_.push_back({key, {}, false, line});
    place_ = Place::kValue;
  }

  const std::string name_;
  absl::Status error_;
  int documents_ = 0;
  Place place_ = Place::kDocument;
  std::vector<ConfigEntry> entries_;
  absl::flat_hash_map<std::string, int> lines_;  // of the keys
};

// The parser takes some of these for the end of the text.
absl::Status CheckCharacters(absl::string_view text, absl::string_view name) {
  const auto bad = std::find_if(text.begin(), text.end(), [](unsigned char c) {
    return c == 0x7f || (c < 0x20 && c != '\t' && c != '\n' && c != '\r');
  });
  if (bad == text.end()) return absl::OkStatus();
  const int line = 1 + static_cast<int>(std::count(text.begin(), bad, '\n'));
  return ErrorAt(name, line,
                 absl::StrCat("must be text in UTF-8, got the byte 0x",
                              absl::Hex(static_cast<unsigned char>(*bad), absl::kZeroPad2)));
}

}  // namespace

absl::StatusOr<std::vector<ConfigEntry>> ParseConfig(absl::string_view text,
                                                     absl::string_view name) {
  if (text.size() > kMaxConfigBytes) return TooLarge(name);
  TIDAL_RETURN_IF_ERROR(CheckCharacters(text, name));
  // With the mark that ends a document, so that the parser finds fault with a quote left open.
  const char* const end = absl::EndsWith(text, "\n") ? "...\n" : "\n...\n";
  std::istringstream stream(absl::StrCat(text, end));
  EntryBuilder builder(name);
  absl::Status broken;
  try {
    YAML::Parser parser(stream);
    // Text that no document can begin with leaves the parser where it is, for ever.
    while (builder.ok() && parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    broken = ErrorAt(name, std::max(error.mark.line + 1, 1), absl::StrCat("not YAML: ", error.msg));
  } catch (const std::exception& error) {
    broken = absl::InvalidArgumentError(absl::StrCat(name, ": not YAML: ", error.what()));
  }
  // After a mistake that the builder has found, another says little.
  if (builder.ok() && !broken.ok()) return broken;
  return std::move(builder).Finish();
}

absl::StatusOr<std::string> ReadConfigText(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxConfigBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be read: ", strerror(errno)));
  }
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxConfigBytes) return TooLarge(path);
  return text;
}

absl::StatusOr<std::vector<ConfigEntry>> ReadConfigFile(const std::string& path) {
  TIDAL_ASSIGN_OR_RETURN(const std::string text, ReadConfigText(path));
  return ParseConfig(text, path);
}

}  // namespace tidal
