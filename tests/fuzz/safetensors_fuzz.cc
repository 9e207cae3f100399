// libFuzzer entry: no bytes may crash the safetensors parser, and what it accepts can be read.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/checkpoint/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto tensors = tidal::ParseSafetensors({data, size}, "input");
  if (!tensors.ok()) return 0;
  for (const auto& [name, tensor] : *tensors) {
    size_t elements = 1;
    for (int64_t dim : tensor.shape) elements *= static_cast<size_t>(dim);
    if (tensor.type == tidal::TensorType::kOther) continue;
    std::vector<tidal::bfloat16> out(elements);
    if (!tidal::ReadAsBFloat16(tensor, absl::MakeSpan(out)).ok()) __builtin_trap();
  }
  return 0;
}
