#include "tests/support/safetensors_writer.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/check.h"
#include "kernels/types.h"

namespace tidal {
namespace {

// Rounds toward zero; enough for test values, which are chosen exact.
uint16_t ToHalf(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (value == 0) return sign;
  int exponent = 0;
  const float fraction = std::frexp(std::abs(value), &exponent);  // [0.5, 1)
  if (exponent < -13) return sign | static_cast<uint16_t>(std::ldexp(std::abs(value), 24));
  TIDAL_CHECK(exponent <= 16);
  return sign | static_cast<uint16_t>((exponent + 14) << 10) |
         (static_cast<uint16_t>(fraction * 2048) & 1023);
}

template <typename T>
void Append(T value, std::string* out) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

}  // namespace

std::string SafetensorsBytes(const std::string& header, const std::string& data) {
  std::string bytes;
  Append<uint64_t>(header.size(), &bytes);
  return bytes + header + data;
}

std::string SafetensorsBytes(const std::vector<TensorToWrite>& tensors) {
  std::vector<std::string> entries = {R"("__metadata__":{"format":"pt"})"};
  std::string data;
  for (const TensorToWrite& tensor : tensors) {
    const size_t begin = data.size();
    for (float value : tensor.values) {
      if (tensor.type == "BF16") {
        Append(ToBFloat16(value).bits, &data);
      } else if (tensor.type == "F16") {
        Append(ToHalf(value), &data);
      } else {
        Append(value, &data);
      }
    }
    entries.push_back(absl::StrCat("\"", tensor.name, "\":{\"dtype\":\"", tensor.type,
                                   "\",\"shape\":[", absl::StrJoin(tensor.shape, ","),
                                   "],\"data_offsets\":[", begin, ",", data.size(), "]}"));
  }
  return SafetensorsBytes(absl::StrCat("{", absl::StrJoin(entries, ","), "}"), data);
}

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream stream(path, std::ios::binary);
  stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  TIDAL_CHECK(stream.good());
}

TempFolder::TempFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "tidal_test_XXXXXX").string();
  TIDAL_CHECK(mkdtemp(name.data()) != nullptr);
  path_ = name;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace tidal
