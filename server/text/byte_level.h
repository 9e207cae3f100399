// The byte-level alphabet of GPT-2: one printable character for each of the 256 bytes, in which a
// tokenizer.json writes its vocabulary and merges.
#ifndef TIDAL_SERVER_TEXT_BYTE_LEVEL_H_
#define TIDAL_SERVER_TEXT_BYTE_LEVEL_H_

#include <string>
#include <string_view>

namespace tidal {

// The characters of some bytes, as UTF-8.
std::string BytesToByteLevel(std::string_view bytes);

// The bytes that `token` stands for; `token` itself when it has a character outside the alphabet
// (an added token with a space, say), as Hugging Face's ByteLevel decoder has it.
std::string ByteLevelToBytes(std::string_view token);

// Whether every character of `token` is in the alphabet.
bool IsByteLevel(std::string_view token);

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_BYTE_LEVEL_H_
