#include "kernels/cpu/cpu_isa.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace tidal::cpu {

bool HasAvx512Bf16() {
#if defined(__x86_64__)
  // __builtin_cpu_supports also asks XGETBV whether the system saves the AVX-512 registers.
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

std::string ProcessorName() {
  std::string name;
#if defined(__x86_64__)
  unsigned int regs[12];
  if (__get_cpuid_max(0x80000000u, nullptr) >= 0x80000004u) {
    for (unsigned int i = 0; i < 3; ++i) {
      __get_cpuid(0x80000002u + i, &regs[4 * i], &regs[4 * i + 1], &regs[4 * i + 2],
                  &regs[4 * i + 3]);
    }
    char text[sizeof(regs) + 1] = {};
    std::memcpy(text, regs, sizeof(regs));
    name = text;
  }
#endif
  const size_t first = name.find_first_not_of(' ');
  if (first == std::string::npos) return "unknown processor";
  return name.substr(first, name.find_last_not_of(' ') - first + 1);
}

int UsableProcessors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int count = 1;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) count = std::max(1, CPU_COUNT(&set));
  // cgroup v2: "<quota in us | max> <period in us>". A pool that spins beyond its quota stalls.
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota = 0, period = 0;
  if (file >> quota >> period && quota > 0 && period > 0) {
    count = std::min(count, std::max(1, static_cast<int>(std::ceil(quota / period))));
  }
  return count;
}

}  // namespace tidal::cpu
