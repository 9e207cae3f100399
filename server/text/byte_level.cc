#include "server/text/byte_level.h"

#include <array>
#include <cstdint>

#include "server/text/utf8.h"

namespace tidal {
namespace {

// Bytes that are printable in Latin-1 stand for themselves; the others take U+0100 and up, in
// order.
constexpr int kAlphabetEnd = 0x100 + 68;

struct Alphabet {
  std::array<char32_t, 256> character_of;
  std::array<int16_t, kAlphabetEnd> byte_of;  // -1: not in the alphabet

  Alphabet() {
    byte_of.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable =
          (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      character_of[byte] = printable ? static_cast<char32_t>(byte) : next++;
      byte_of[character_of[byte]] = static_cast<int16_t>(byte);
    }
  }
};

const Alphabet& GetAlphabet() {
  static const Alphabet alphabet;
  return alphabet;
}

// False when `token` is not in the alphabet throughout.
bool Translate(std::string_view token, std::string* bytes) {
  const Alphabet& alphabet = GetAlphabet();
  while (!token.empty()) {
    const Utf8Unit unit = ReadUtf8(token);
    if (unit.kind != Utf8Unit::kCodePoint || unit.code_point >= kAlphabetEnd) return false;
    const int16_t byte = alphabet.byte_of[unit.code_point];
    if (byte < 0) return false;
    bytes->push_back(static_cast<char>(byte));
    token.remove_prefix(unit.length);
  }
  return true;
}

}  // namespace

std::string BytesToByteLevel(std::string_view bytes) {
  const Alphabet& alphabet = GetAlphabet();
  std::string characters;
  characters.reserve(2 * bytes.size());
  for (const char byte : bytes) {
    AppendUtf8(alphabet.character_of[static_cast<uint8_t>(byte)], &characters);
  }
  return characters;
}

std::string ByteLevelToBytes(std::string_view token) {
  std::string bytes;
  return Translate(token, &bytes) ? bytes : std::string(token);
}

bool IsByteLevel(std::string_view token) {
  std::string bytes;
  return Translate(token, &bytes);
}

}  // namespace tidal
