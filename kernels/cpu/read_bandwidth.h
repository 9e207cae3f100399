// How fast this machine reads memory: the denominator of every bound we report.
#ifndef TIDAL_KERNELS_CPU_READ_BANDWIDTH_H_
#define TIDAL_KERNELS_CPU_READ_BANDWIDTH_H_

#include "kernels/cpu/thread_pool.h"

namespace tidal::cpu {

// Bytes per second of a plain sequential read by all threads of the pool over a buffer far larger
// than the caches; the best of several passes. 0 when the buffer (512 MiB) cannot be had.
double MeasureReadBandwidth(ThreadPool& pool);

}  // namespace tidal::cpu

#endif  // TIDAL_KERNELS_CPU_READ_BANDWIDTH_H_
