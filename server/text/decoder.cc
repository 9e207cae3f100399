#include "server/text/decoder.h"

#include <algorithm>

#include "server/text/concat.h"
#include "server/text/decode_stages.h"

namespace tidal {

std::string Decoder::TokenBytes(std::string_view token) const {
  if (takes_bytes()) return std::string(token);
  for (const Step& step : steps_) {
    if (std::holds_alternative<Spaces>(step)) return std::string(token);
    if (!std::holds_alternative<ByteFallback>(step)) continue;
    if (const auto byte = ParseFallbackToken(token); byte.has_value()) {
      return std::string(1, static_cast<char>(*byte));
    }
  }
  // Neither the first nor the last token of a text, which some steps treat in their own way.
  constexpr std::string_view kNeighbour = "a";
  Decoding decoding(*this);
  std::string text = decoding.Append(kNeighbour);
  text += decoding.Append(token);
  text += decoding.Append(kNeighbour);
  text += decoding.Finish();
  if (text.size() < 2 || !text.starts_with(kNeighbour) || !text.ends_with(kNeighbour)) {
    return std::string(token);  // the decoder replaces the neighbours as well
  }
  return text.substr(1, text.size() - 2);
}

Decoding::Decoding(const Decoder& decoder) {
  stages_.push_back(MakeOutputStage(&text_));
  for (auto step = decoder.steps().rbegin(); step != decoder.steps().rend(); ++step) {
    stages_.push_back(MakeDecodeStage(*step, stages_.back().get()));
  }
}

Decoding::~Decoding() = default;

std::string Decoding::Append(std::string_view token) {
  stages_.back()->Add(token);
  stages_.back()->EndElement();
  return std::exchange(text_, {});
}

std::string Decoding::Finish() {
  stages_.back()->EndText();
  return std::exchange(text_, {});
}

}  // namespace tidal
