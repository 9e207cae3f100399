#include "server/grammar/schema_check.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/base/status_macros.h"
#include "server/text/utf8.h"

namespace tidal {
namespace {

using Json = nlohmann::ordered_json;

// The keywords whose value is a schema, an array of schemas, or an object of schemas.
constexpr std::array kSchemas = {"items",
                                 "additionalItems",
                                 "additionalProperties",
                                 "unevaluatedItems",
                                 "propertyNames",
                                 "contains",
                                 "unevaluatedProperties",
                                 "not",
                                 "if",
                                 "then",
                                 "else"};
constexpr std::array kSchemaArrays = {"anyOf", "oneOf", "allOf", "prefixItems"};
constexpr std::array kSchemaObjects = {"properties", "patternProperties", "$defs", "definitions",
                                       "dependentSchemas"};
// Those that the library passes over.
constexpr std::array kUnenforced = {"not",
                                    "if",
                                    "then",
                                    "else",
                                    "dependentRequired",
                                    "dependentSchemas",
                                    "dependencies",
                                    "uniqueItems",
                                    "contains",
                                    "minContains",
                                    "maxContains",
                                    "$dynamicRef",
                                    "$recursiveRef",
                                    "contentEncoding",
                                    "contentMediaType",
                                    "contentSchema"};
constexpr std::array kBounds = {"minLength", "maxLength",     "minItems",
                                "maxItems",  "minProperties", "maxProperties"};
constexpr std::array kFormats = {"email",         "date",
                                 "time",          "date-time",
                                 "duration",      "ipv4",
                                 "ipv6",          "hostname",
                                 "uuid",          "uri",
                                 "uri-reference", "uri-template",
                                 "json-pointer",  "relative-json-pointer"};

template <typename Names>
bool Has(const Names& names, absl::string_view name) {
  return std::any_of(names.begin(), names.end(), [&](const char* each) { return each == name; });
}

int CountNodes(const Json& json) {
  int nodes = 1;
  if (json.is_structured()) {
    for (const Json& element : json) nodes += CountNodes(element);
  }
  return nodes;
}

// Of brackets outside strings: before anything looks at them that recurses.
int NestingDepth(absl::string_view text) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

std::string Pointer(const std::string& base, absl::string_view token) {
  return absl::StrCat(base, "/", absl::StrReplaceAll(token, {{"~", "~0"}, {"/", "~1"}}));
}

// Walks a schema.
class SchemaPreparer {
 public:
  SchemaPreparer(absl::string_view field, bool strict) : field_(field), strict_(strict) {}

  absl::Status Prepare(Json& schema, const std::string& at) const {
    if (schema.is_boolean()) return absl::OkStatus();
    if (!schema.is_object()) return Fail("be an object or a boolean", "another value", at);
    TIDAL_RETURN_IF_ERROR(CheckKeywords(schema, at));
    TIDAL_RETURN_IF_ERROR(CheckOptionalProperties(schema, at));
    if (strict_) TIDAL_RETURN_IF_ERROR(CheckEnforced(schema, at));
    for (auto& [key, value] : schema.items()) {
      TIDAL_RETURN_IF_ERROR(PrepareBelow(key, value, Pointer(at, key)));
    }
    Open(schema);
    return absl::OkStatus();
  }

 private:
  absl::Status Fail(absl::string_view must, absl::string_view got, const std::string& at) const {
    return absl::InvalidArgumentError(
        absl::StrCat(field_, ": must ", must, ", got ", got, " at ", at.empty() ? "the root" : at));
  }

  absl::Status PrepareBelow(const std::string& key, Json& value, const std::string& at) const {
    // Older drafts give the schemas of the first items as an array.
    const bool is_array = Has(kSchemaArrays, key) || (key == "items" && value.is_array());
    if (is_array && !value.is_array()) return Fail("be an array of schemas", "another value", at);
    if (Has(kSchemaObjects, key) && !value.is_object()) {
      return Fail("be an object of schemas", "another value", at);
    }
    if (is_array) {
      for (size_t i = 0; i < value.size(); ++i) {
        TIDAL_RETURN_IF_ERROR(Prepare(value[i], absl::StrCat(at, "/", i)));
      }
    } else if (Has(kSchemaObjects, key)) {
      for (auto& [name, schema] : value.items()) {
        if (key == "patternProperties") {
          TIDAL_RETURN_IF_ERROR(CheckPatternAt(name, Pointer(at, name)));
        }
        TIDAL_RETURN_IF_ERROR(Prepare(schema, Pointer(at, name)));
      }
    } else if (Has(kSchemas, key)) {
      return Prepare(value, at);
    }
    return absl::OkStatus();
  }

  absl::Status CheckPatternAt(absl::string_view pattern, const std::string& at) const {
    const absl::Status status = CheckPattern(field_, pattern, kMaxPatternBytes);
    if (status.ok()) return status;
    return absl::Status(status.code(), absl::StrCat(status.message(), " at ", at));
  }

  absl::Status CheckKeywords(const Json& schema, const std::string& at) const {
    for (const auto& [key, value] : schema.items()) {
      const std::string here = Pointer(at, key);
      if (Has(kBounds, key)) {
        const bool fits = value.is_number() && value.get<double>() >= 0 &&
                          value.get<double>() <= static_cast<double>(kMaxSchemaBound);
        if (!fits) {
          return Fail(absl::StrCat("have bounds in [0, ", kMaxSchemaBound, "]"), value.dump(),
                      here);
        }
      }
      if (key == "pattern") {
        if (!value.is_string()) return Fail("have patterns that are strings", "another one", here);
        TIDAL_RETURN_IF_ERROR(CheckPatternAt(value.get_ref<const std::string&>(), here));
      }
      if (key == "$ref") {
        const bool local =
            value.is_string() && value.get_ref<const std::string&>().starts_with("#");
        if (!local) return Fail("refer to its own parts only (\"#/...\")", "another", here);
      }
      if (key == "enum" && (!value.is_array() || value.empty())) {
        return Fail("have enums that are arrays of at least one value", "another", here);
      }
    }
    return absl::OkStatus();
  }

  // The library keeps a state for each way to leave some of them out.
  absl::Status CheckOptionalProperties(const Json& schema, const std::string& at) const {
    const auto properties = schema.find("properties");
    if (properties == schema.end() || !properties->is_object()) return absl::OkStatus();
    const auto required = schema.find("required");
    const size_t num_required =
        required != schema.end() && required->is_array() ? required->size() : 0;
    if (properties->size() <= num_required + kMaxOptionalProperties) return absl::OkStatus();
    return Fail(absl::StrCat("have at most ", kMaxOptionalProperties,
                             " properties of an object that are not required"),
                absl::StrCat(properties->size() - num_required), Pointer(at, "properties"));
  }

  absl::Status CheckEnforced(const Json& schema, const std::string& at) const {
    const auto refuse = [&](absl::string_view key) {
      return Fail("have only keywords that can be enforced, with strict",
                  absl::StrCat("\"", key, "\""), Pointer(at, key));
    };
    for (const auto& [key, value] : schema.items()) {
      if (Has(kUnenforced, key) && value != false) return refuse(key);
      if (key == "allOf" && value.is_array() && value.size() > 1) return refuse(key);
      if (key == "format" && value.is_string() &&
          !Has(kFormats, value.get_ref<const std::string&>())) {
        return refuse(key);
      }
      const auto type = schema.find("type");
      if (key == "multipleOf" && (type == schema.end() || *type != "integer")) return refuse(key);
    }
    for (const char* generative : {"pattern", "format"}) {
      if (!schema.contains(generative)) continue;
      for (const char* length : {"minLength", "maxLength"}) {
        if (schema.contains(length)) return refuse(length);
      }
    }
    return absl::OkStatus();
  }

  // The library closes what does not say otherwise, which is right for objects that name their
  // properties: a model then says no more than was asked for.
  static void Open(Json& schema) {
    const auto says_none_of = [&](auto... keys) { return (!schema.contains(keys) && ...); };
    if (!schema.contains("type")) return;
    const Json type = schema["type"];  // a copy: what is added moves the members
    const auto is = [&](const char* name) {
      return type == name ||
             (type.is_array() && std::find(type.begin(), type.end(), name) != type.end());
    };
    if (is("object") &&
        says_none_of("properties", "patternProperties", "additionalProperties",
                     "unevaluatedProperties", "$ref", "anyOf", "oneOf", "allOf", "enum", "const")) {
      schema["additionalProperties"] = true;
    }
    if (is("array") && says_none_of("items", "prefixItems", "unevaluatedItems", "$ref", "anyOf",
                                    "oneOf", "allOf", "enum", "const")) {
      schema["items"] = true;
    }
  }

  const absl::string_view field_;
  const bool strict_;
};

// Adds up what a pattern comes to. Knows groups, classes, escapes, string literals of a grammar and
// bounds of repetitions; what it does not know counts as characters.
class PatternLength {
 public:
  explicit PatternLength(absl::string_view pattern) : pattern_(pattern) {}

  int64_t Measure() {
    std::vector<int64_t> groups = {0};
    int64_t last = 0;  // of the atom that a repetition would repeat
    for (size_t i = 0; i < pattern_.size(); ++i) {
      const char c = pattern_[i];
      if (c == '(') {
        groups.push_back(0);
        last = 0;
      } else if (c == ')' && groups.size() > 1) {
        last = std::max<int64_t>(groups.back(), 1);
        groups.pop_back();
        Add(groups, last);
      } else if (const int64_t times = c == '{' ? Repetition(&i) : 0; times > 0) {
        Add(groups, last * (times - 1));
        last *= times;
      } else {
        if (c == '\\') ++i;
        if (c == '[') i = EndOf(i, ']');
        Add(groups, last = 1);
      }
      if (groups.back() > kMaxPatternLength || last > kMaxPatternLength)
        return groups.back() + last;
    }
    int64_t sum = 0;
    for (const int64_t group : groups) sum += group;
    return sum;
  }

 private:
  static void Add(std::vector<int64_t>& groups, int64_t length) { groups.back() += length; }

  size_t EndOf(size_t i, char end) const {
    for (++i; i < pattern_.size() && pattern_[i] != end; ++i) {
      if (pattern_[i] == '\\') ++i;
    }
    return i;
  }

  // The most of "{m}", "{m,}" and "{m,n}" at `*i`, which moves to its end; 0 where it is none.
  int64_t Repetition(size_t* i) const {
    const size_t end = pattern_.find('}', *i);
    if (end == absl::string_view::npos) return 0;
    int64_t most = 1, number = 0;
    for (size_t at = *i + 1; at < end; ++at) {
      const char c = pattern_[at];
      if (c == ',') {
        number = 0;
      } else if (c >= '0' && c <= '9') {
        number = std::min<int64_t>(10 * number + (c - '0'), kMaxPatternLength + 1);
        most = std::max(most, number);
      } else if (c != ' ') {
        return 0;
      }
    }
    *i = end;
    return most;
  }

  const absl::string_view pattern_;
};

}  // namespace

absl::StatusOr<nlohmann::ordered_json> ParseBoundedJson(absl::string_view field,
                                                        absl::string_view text) {
  const auto fail = [&](absl::string_view must, auto got) {
    return absl::InvalidArgumentError(absl::StrCat(field, ": must ", must, ", got ", got));
  };
  if (text.size() > kMaxSchemaBytes) {
    return fail(absl::StrCat("have at most ", kMaxSchemaBytes, " bytes"), text.size());
  }
  if (const int depth = NestingDepth(text); depth > kMaxSchemaDepth) {
    return fail(absl::StrCat("be at most ", kMaxSchemaDepth, " levels deep"), depth);
  }
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  // The library takes a NUL byte for the end.
  if (json.is_discarded() || absl::StrContains(text, '\0'))
    return fail("be valid JSON in UTF-8", "a syntax error");
  if (const int nodes = CountNodes(json); nodes > kMaxSchemaNodes) {
    return fail(absl::StrCat("have at most ", kMaxSchemaNodes, " values"), nodes);
  }
  return json;
}

absl::StatusOr<nlohmann::ordered_json> PrepareSchema(absl::string_view field,
                                                     nlohmann::ordered_json schema, bool strict) {
  TIDAL_RETURN_IF_ERROR(SchemaPreparer(field, strict).Prepare(schema, ""));
  return schema;
}

absl::Status CheckPattern(absl::string_view field, absl::string_view pattern, size_t max_bytes) {
  const auto fail = [&](absl::string_view must, auto got) {
    return absl::InvalidArgumentError(absl::StrCat(field, ": must ", must, ", got ", got));
  };
  if (pattern.empty() || pattern.size() > max_bytes) {
    return fail(absl::StrCat("have 1 to ", max_bytes, " bytes"), pattern.size());
  }
  if (pattern.find('\0') != absl::string_view::npos) return fail("have no NUL", "one");
  if (FindInvalidUtf8({pattern.data(), pattern.size()}).has_value())
    return fail("be UTF-8", "other bytes");
  if (const int64_t length = PatternLength(pattern).Measure(); length > kMaxPatternLength) {
    return fail(absl::StrCat("come to at most ", kMaxPatternLength,
                             " characters with its repetitions written out"),
                "more");
  }
  return absl::OkStatus();
}

}  // namespace tidal
