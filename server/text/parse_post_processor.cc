// The post-processor of a tokenizer.json.
#include <utility>
#include <vector>

#include "engine/base/status_macros.h"
#include "server/text/tokenizer_parts.h"

namespace tidal {
namespace {

struct Around {
  std::vector<TokenId> prefix, suffix;
};

absl::Status AppendIds(const JsonField& ids, std::vector<TokenId>* out) {
  TIDAL_RETURN_IF_ERROR(ids.RequireArray());
  if (ids.value().size() > kMaxSteps) return ids.Wrong("a shorter list");
  for (size_t i = 0; i < ids.value().size(); ++i) {
    TIDAL_ASSIGN_OR_RETURN(const int64_t id, ids.Element(i).Int(0, kMaxTokenId - 1));
    out->push_back(static_cast<TokenId>(id));
  }
  return absl::OkStatus();
}

absl::StatusOr<Around> ParseTemplate(const JsonField& processor) {
  const JsonField single = processor.Member("single");
  TIDAL_RETURN_IF_ERROR(single.RequireArray());
  if (single.value().size() > kMaxSteps) return single.Wrong("a shorter list");
  Around around;
  bool seen_text = false;
  for (size_t i = 0; i < single.value().size(); ++i) {
    const JsonField piece = single.Element(i);
    if (const JsonField text = piece.Member("Sequence"); !text.is_null()) {
      if (text.Member("id").value() != "A" || seen_text) return text.Wrong("one Sequence A");
      seen_text = true;
      continue;
    }
    TIDAL_ASSIGN_OR_RETURN(const std::string name,
                           piece.Member("SpecialToken").Member("id").String());
    const JsonField ids = processor.Member("special_tokens").Member(name).Member("ids");
    TIDAL_RETURN_IF_ERROR(AppendIds(ids, seen_text ? &around.suffix : &around.prefix));
  }
  if (!seen_text) return single.Wrong("a template with Sequence A");
  return around;
}

// [token, id], as BertProcessing and RobertaProcessing have it.
absl::StatusOr<std::vector<TokenId>> ParsePair(const JsonField& pair) {
  TIDAL_RETURN_IF_ERROR(pair.RequireArray());
  if (pair.value().size() != 2) return pair.Wrong("a token and its id");
  TIDAL_ASSIGN_OR_RETURN(const int64_t id, pair.Element(1).Int(0, kMaxTokenId - 1));
  return std::vector<TokenId>{static_cast<TokenId>(id)};
}

absl::StatusOr<Around> ParseAround(const JsonField& step) {
  const JsonField type = step.Member("type");
  if (type.value() == "TemplateProcessing") return ParseTemplate(step);
  if (type.value() == "BertProcessing" || type.value() == "RobertaProcessing") {
    Around around;
    TIDAL_ASSIGN_OR_RETURN(around.prefix, ParsePair(step.Member("cls")));
    TIDAL_ASSIGN_OR_RETURN(around.suffix, ParsePair(step.Member("sep")));
    return around;
  }
  return type.Wrong(
      "\"TemplateProcessing\", \"BertProcessing\", \"RobertaProcessing\" or \"ByteLevel\"");
}

}  // namespace

absl::Status ParsePostProcessor(const JsonField& field, TokenizerConfig* config) {
  TIDAL_ASSIGN_OR_RETURN(const auto steps, ParseSteps(field, "processors"));
  bool seen_around = false;
  for (const JsonField& step : steps) {
    if (step.Member("type").value() == "ByteLevel") continue;  // touches offsets, not ids
    TIDAL_ASSIGN_OR_RETURN(Around around, ParseAround(step));
    if (std::exchange(seen_around, true)) {
      return step.Member("type").Wrong("the only step that adds tokens");
    }
    config->prefix = std::move(around.prefix);
    config->suffix = std::move(around.suffix);
  }
  return absl::OkStatus();
}

}  // namespace tidal
