// The normalizer of a tokenizer.json.
#include <string>
#include <utility>

#include "engine/base/status_macros.h"
#include "server/text/tokenizer_parts.h"

namespace tidal {
namespace {

absl::StatusOr<Normalizer::Step> ParseStep(const JsonField& step, size_t* growth) {
  const JsonField type = step.Member("type");
  const nlohmann::json& name = type.value();
  if (name == "NFC") return NormalForm::kNfc;
  if (name == "NFD") return NormalForm::kNfd;
  if (name == "NFKC") return NormalForm::kNfkc;
  if (name == "NFKD") return NormalForm::kNfkd;
  if (name == "Lowercase") return Normalizer::Lowercase();
  if (name == "Strip") {
    Normalizer::Strip strip;
    TIDAL_ASSIGN_OR_RETURN(strip.left, step.Member("strip_left").Bool(false));
    TIDAL_ASSIGN_OR_RETURN(strip.right, step.Member("strip_right").Bool(false));
    return strip;
  }
  if (name == "Prepend") {
    Normalizer::Prepend prepend;
    TIDAL_ASSIGN_OR_RETURN(prepend.text, step.Member("prepend").String());
    if (prepend.text.size() > kMaxTokenBytes) return step.Member("prepend").Wrong("shorter");
    return prepend;
  }
  if (name == "Replace") {
    TIDAL_ASSIGN_OR_RETURN(auto replace, ParseReplace(step, growth));
    return Normalizer::Replace{std::move(replace.first), std::move(replace.second)};
  }
  return type.Wrong(
      "\"NFC\", \"NFD\", \"NFKC\", \"NFKD\", \"Lowercase\", \"Strip\", \"Prepend\" or \"Replace\"");
}

}  // namespace

absl::StatusOr<Normalizer> ParseNormalizer(const JsonField& field) {
  TIDAL_ASSIGN_OR_RETURN(const auto steps, ParseSteps(field, "normalizers"));
  Normalizer normalizer;
  size_t growth = 1;
  for (const JsonField& step : steps) {
    TIDAL_ASSIGN_OR_RETURN(auto parsed, ParseStep(step, &growth));
    normalizer.Add(std::move(parsed));
  }
  return normalizer;
}

}  // namespace tidal
