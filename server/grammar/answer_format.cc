#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "server/grammar/schema_check.h"
#include "server/grammar/structure.h"

namespace tidal {
namespace {

constexpr int kMaxChoices = 4096;

StructureFormat JsonFormat(StructureFormat schema, bool compact) {
  if (compact) return {{"type", kCompactSchema}, {"json_schema", std::move(schema)}};
  return SchemaFormat(std::move(schema));
}

absl::StatusOr<StructureFormat> ChoiceFormat(const v1::Choice& choice) {
  const auto fail = [](int index, const char* must, auto got) {
    const std::string place = index < 0 ? "" : absl::StrCat(".texts[", index, "]");
    return absl::InvalidArgumentError(
        absl::StrCat("structured_output.choice", place, ": must ", must, ", got ", got));
  };
  if (choice.texts().empty() || choice.texts_size() > kMaxChoices) {
    return fail(-1, "have 1 to 4096 texts", choice.texts_size());
  }
  StructureFormat format = {{"type", "or"}, {"elements", StructureFormat::array()}};
  size_t bytes = 0;
  for (int i = 0; i < choice.texts_size(); ++i) {
    bytes += choice.texts(i).size();
    if (choice.texts(i).empty()) return fail(i, "not be empty", "an empty text");
    if (bytes > kMaxGrammarBytes) return fail(-1, "have at most 65536 bytes in all", "more");
    format["elements"].push_back({{"type", "const_string"}, {"value", choice.texts(i)}});
  }
  return format;
}

// The schemas, patterns and grammars in a part of a client's structural tag.
absl::Status PrepareParts(absl::string_view field, StructureFormat& part) {
  if (part.is_object()) {
    for (auto& [key, value] : part.items()) {
      if (key == "json_schema") {
        TIDAL_ASSIGN_OR_RETURN(value, PrepareSchema(field, std::move(value), /*strict=*/false));
      } else if ((key == "pattern" || key == "grammar") && value.is_string()) {
        TIDAL_RETURN_IF_ERROR(CheckPattern(field, value.get<std::string>(),
                                           key == "pattern" ? kMaxPatternBytes : kMaxGrammarBytes));
      } else {
        TIDAL_RETURN_IF_ERROR(PrepareParts(field, value));
      }
    }
  } else if (part.is_array()) {
    for (StructureFormat& element : part) TIDAL_RETURN_IF_ERROR(PrepareParts(field, element));
  }
  return absl::OkStatus();
}

// A client's own structural tag: what it may be is bounded as a schema is.
absl::StatusOr<StructureFormat> TagFormat(const std::string& text) {
  constexpr char kField[] = "structured_output.structural_tag";
  TIDAL_ASSIGN_OR_RETURN(StructureFormat tag, ParseBoundedJson(kField, text));
  const auto format = tag.find("format");
  if (!tag.is_object() || format == tag.end() || !format->is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(kField, ": must be an object with \"format\", an object, got another value"));
  }
  StructureFormat prepared = *format;
  TIDAL_RETURN_IF_ERROR(PrepareParts(kField, prepared));
  return prepared;
}

}  // namespace

absl::StatusOr<StructureFormat> AnswerFormat(const v1::StructuredOutput& wanted) {
  switch (wanted.kind_case()) {
    case v1::StructuredOutput::kJsonObject:
      return JsonFormat(AnyObjectSchema(), wanted.compact());
    case v1::StructuredOutput::kJsonSchema: {
      constexpr char kField[] = "structured_output.json_schema";
      TIDAL_ASSIGN_OR_RETURN(StructureFormat schema,
                             ParseBoundedJson(kField, wanted.json_schema()));
      TIDAL_ASSIGN_OR_RETURN(schema, PrepareSchema(kField, std::move(schema), wanted.strict()));
      return JsonFormat(std::move(schema), wanted.compact());
    }
    case v1::StructuredOutput::kRegex:
      TIDAL_RETURN_IF_ERROR(
          CheckPattern("structured_output.regex", wanted.regex(), kMaxPatternBytes));
      return StructureFormat{{"type", "regex"}, {"pattern", wanted.regex()}};
    case v1::StructuredOutput::kChoice:
      return ChoiceFormat(wanted.choice());
    case v1::StructuredOutput::kGrammar:
      TIDAL_RETURN_IF_ERROR(
          CheckPattern("structured_output.grammar", wanted.grammar(), kMaxGrammarBytes));
      return StructureFormat{{"type", "grammar"}, {"grammar", wanted.grammar()}};
    case v1::StructuredOutput::kStructuralTag:
      return TagFormat(wanted.structural_tag());
    case v1::StructuredOutput::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError(
      "structured_output: must name what is wanted (json_object, json_schema, regex, choice, "
      "grammar or structural_tag), got nothing");
}

}  // namespace tidal
