// The steps of a decoder at work on one text.
#ifndef TIDAL_SERVER_TEXT_DECODE_STAGES_H_
#define TIDAL_SERVER_TEXT_DECODE_STAGES_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server/text/decoder.h"

namespace tidal {

// Takes elements, and gives elements to the stage after it as soon as they are certain.
class DecodeStage {
 public:
  virtual ~DecodeStage() = default;
  virtual void Add(std::string_view part) = 0;  // of the element at hand
  virtual void EndElement() = 0;
  virtual void EndText() = 0;  // after the last element
};

// Appends all elements to `text`, which outlives it.
std::unique_ptr<DecodeStage> MakeOutputStage(std::string* text);
// `step` and `next` outlive the stage.
std::unique_ptr<DecodeStage> MakeDecodeStage(const Decoder::Step& step, DecodeStage* next);

// The byte of a token like <0xE2>.
std::optional<uint8_t> ParseFallbackToken(std::string_view token);

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_DECODE_STAGES_H_
