// The decoder of a tokenizer.json.
#include <string>
#include <utility>

#include "engine/base/status_macros.h"
#include "server/text/tokenizer_parts.h"

namespace tidal {
namespace {

constexpr int64_t kMaxStripped = 1 << 20;

class DecoderParser {
 public:
  absl::Status AddStep(const JsonField& step) {
    const JsonField type = step.Member("type");
    const nlohmann::json& name = type.value();
    const bool first = std::exchange(first_, false);
    if (name == "Metaspace") return AddMetaspace(step);
    if (name == "Strip") return AddStrip(step);
    if (name == "ByteLevel") return first ? Fuse(Decoder::Utf8()) : type.Wrong("the first decoder");
    if (name == "Fuse") return Fuse(Decoder::Fuse());
    const bool whole = name == "BPEDecoder" || name == "ByteFallback" || name == "Replace";
    if (whole && fused_) return type.Wrong("before ByteLevel and Fuse");  // or nothing would stream
    if (name == "BPEDecoder") return AddWordEnd(step);
    if (name == "ByteFallback") return Add(Decoder::ByteFallback());
    if (name == "Replace") return AddReplace(step);
    return type.Wrong(
        "\"ByteLevel\", \"BPEDecoder\", \"Metaspace\", \"ByteFallback\", \"Fuse\", \"Strip\" or "
        "\"Replace\"");
  }

  Decoder Finish() && { return std::move(decoder_); }

 private:
  absl::Status Add(Decoder::Step step) {
    decoder_.Add(std::move(step));
    return absl::OkStatus();
  }

  absl::Status Fuse(Decoder::Step step) {
    fused_ = true;
    return Add(std::move(step));
  }

  absl::Status AddMetaspace(const JsonField& step) {
    TIDAL_ASSIGN_OR_RETURN(const PreTokenizer::Metaspace metaspace, ParseMetaspace(step));
    return Add(Decoder::Metaspace{metaspace.replacement,
                                  metaspace.prepend != PreTokenizer::Metaspace::Prepend::kNever});
  }

  absl::Status AddStrip(const JsonField& step) {
    Decoder::Strip strip;
    TIDAL_ASSIGN_OR_RETURN(strip.content, ParseCharacter(step.Member("content")));
    TIDAL_ASSIGN_OR_RETURN(strip.left, step.Member("start").Int(0, kMaxStripped));
    TIDAL_ASSIGN_OR_RETURN(strip.right, step.Member("stop").Int(0, kMaxStripped));
    return Add(std::move(strip));
  }

  absl::Status AddWordEnd(const JsonField& step) {
    TIDAL_ASSIGN_OR_RETURN(std::string suffix, step.Member("suffix").String());
    if (suffix.empty()) return step.Member("suffix").Wrong("a string that is not empty");
    return Add(Decoder::WordEnd{std::move(suffix)});
  }

  absl::Status AddReplace(const JsonField& step) {
    TIDAL_ASSIGN_OR_RETURN(auto replace, ParseReplace(step, &growth_));
    return Add(Decoder::Replace{std::move(replace.first), std::move(replace.second)});
  }

  Decoder decoder_;
  bool first_ = true;
  bool fused_ = false;  // there is one element only, which ends with the text
  size_t growth_ = 1;
};

}  // namespace

absl::StatusOr<Decoder> ParseDecoder(const JsonField& field) {
  if (field.is_null()) {
    Decoder decoder;
    decoder.Add(Decoder::Spaces());
    return decoder;
  }
  TIDAL_ASSIGN_OR_RETURN(const auto steps, ParseSteps(field, "decoders"));
  DecoderParser parser;
  for (const JsonField& step : steps) TIDAL_RETURN_IF_ERROR(parser.AddStep(step));
  return std::move(parser).Finish();
}

}  // namespace tidal
