// The byte-level alphabet of GPT-2: one printable character for each of the 256 bytes, in which a
// tokenizer.json writes its vocabulary and merges.
#ifndef TIDAL_SERVER_TEXT_BYTE_LEVEL_H_
#define TIDAL_SERVER_TEXT_BYTE_LEVEL_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace tidal {

// The character of a byte, as UTF-8.
std::string ByteLevelCharacter(uint8_t byte);

// The bytes that `token` stands for; `token` itself when it has a character outside the alphabet
// (an added token with a space, say), as Hugging Face's ByteLevel decoder has it.
std::string ByteLevelToBytes(std::string_view token);

// Whether every character of `token` is in the alphabet.
bool IsByteLevel(std::string_view token);

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_BYTE_LEVEL_H_
