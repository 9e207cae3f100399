// What this processor can do.
#ifndef TIDAL_KERNELS_CPU_CPU_ISA_H_
#define TIDAL_KERNELS_CPU_CPU_ISA_H_

#include <string>

namespace tidal::cpu {

// AVX-512 F, BW, VL, DQ and BF16, enabled by the operating system.
bool HasAvx512Bf16();

// The processor's own name, or "unknown processor".
std::string ProcessorName();

// Processors this process may run on at once: its affinity mask, and its CPU quota where the
// control group sets one. At least 1.
int UsableProcessors();

}  // namespace tidal::cpu

#endif  // TIDAL_KERNELS_CPU_CPU_ISA_H_
