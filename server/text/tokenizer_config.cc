#include "server/text/tokenizer_config.h"

#include <algorithm>
#include <string>
#include <utility>

#include "engine/base/status_macros.h"
#include "server/text/concat.h"
#include "server/text/json_field.h"
#include "server/text/tokenizer_parts.h"
#include "server/text/utf8.h"

namespace tidal {
namespace {

constexpr size_t kMaxGrowth = 1024;

absl::Status AddSteps(const JsonField& part, std::string_view list, size_t nesting,
                      std::vector<JsonField>* steps) {
  if (part.Member("type").value() == "Sequence" && nesting < kMaxSteps) {
    const JsonField members = part.Member(list);
    TIDAL_RETURN_IF_ERROR(members.RequireArray());
    if (members.value().size() > kMaxSteps) return members.Wrong("a shorter list");
    for (size_t i = 0; i < members.value().size(); ++i) {
      TIDAL_RETURN_IF_ERROR(AddSteps(members.Element(i), list, nesting + 1, steps));
    }
    return absl::OkStatus();
  }
  if (steps->size() == kMaxSteps) return part.Wrong(Concat("one of ", kMaxSteps, " steps"));
  steps->push_back(part);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<JsonField>> ParseSteps(const JsonField& part, std::string_view list) {
  std::vector<JsonField> steps;
  if (part.is_null()) return steps;
  TIDAL_RETURN_IF_ERROR(part.RequireObject());
  TIDAL_RETURN_IF_ERROR(AddSteps(part, list, 0, &steps));
  return steps;
}

absl::StatusOr<Pattern> ParsePattern(const JsonField& pattern) {
  const JsonField regex = pattern.Member("Regex"), literal = pattern.Member("String");
  if (regex.is_null() && literal.is_null()) return pattern.Wrong("a Regex or String");
  const JsonField& field = regex.is_null() ? literal : regex;
  TIDAL_ASSIGN_OR_RETURN(std::string text, field.String());
  if (text.size() > kMaxTokenBytes) return field.Wrong("shorter");
  if (regex.is_null() && !text.empty()) return Pattern::Literal(std::move(text));
  auto compiled = Pattern::Regex(text);
  if (compiled.ok()) return compiled;
  return absl::InvalidArgumentError(Concat(field.path(), ": ", compiled.status().message()));
}

absl::StatusOr<std::string> ParseCharacter(const JsonField& field) {
  TIDAL_ASSIGN_OR_RETURN(std::string text, field.String());
  if (text.empty() || ReadUtf8(text).length != text.size()) return field.Wrong("one character");
  return text;
}

absl::StatusOr<std::pair<Pattern, std::string>> ParseReplace(const JsonField& replace,
                                                             size_t* growth) {
  TIDAL_ASSIGN_OR_RETURN(Pattern pattern, ParsePattern(replace.Member("pattern")));
  const JsonField field = replace.Member("content");
  TIDAL_ASSIGN_OR_RETURN(std::string content, field.String());
  // A regular expression may match nothing at all, before every byte.
  const size_t shortest_match = pattern.literal().size();
  *growth *= shortest_match > 0 ? std::max<size_t>(1, content.size() / shortest_match + 1)
                                : content.size() + 1;
  if (content.size() > kMaxTokenBytes || *growth > kMaxGrowth) {
    return field.Wrong(
        Concat("shorter: all replacements together may lengthen a text ", kMaxGrowth, " times"));
  }
  return std::pair(std::move(pattern), std::move(content));
}

absl::StatusOr<TokenizerConfig> ParseTokenizerConfig(std::string_view text) {
  const nlohmann::json document = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded()) {
    return absl::InvalidArgumentError("the document: must be JSON, got something else");
  }
  const JsonField root(&document, "");
  TIDAL_RETURN_IF_ERROR(root.RequireObject());
  TokenizerConfig config;
  TIDAL_ASSIGN_OR_RETURN(config.model, ParseModel(root.Member("model")));
  TIDAL_ASSIGN_OR_RETURN(config.added_tokens, ParseAddedTokens(root.Member("added_tokens")));
  TIDAL_ASSIGN_OR_RETURN(config.normalizer, ParseNormalizer(root.Member("normalizer")));
  TIDAL_ASSIGN_OR_RETURN(config.pre_tokenizer,
                         ParsePreTokenizer(root.Member("pre_tokenizer"), !config.normalizer.empty(),
                                           &config.model.byte_level));
  TIDAL_RETURN_IF_ERROR(ParsePostProcessor(root.Member("post_processor"), &config));
  TIDAL_ASSIGN_OR_RETURN(config.decoder, ParseDecoder(root.Member("decoder")));
  return config;
}

}  // namespace tidal
