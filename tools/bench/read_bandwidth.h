// How fast this machine reads memory: the denominator of every bound we report.
#ifndef TIDAL_TOOLS_BENCH_READ_BANDWIDTH_H_
#define TIDAL_TOOLS_BENCH_READ_BANDWIDTH_H_

namespace tidal {

// Bytes per second of a plain sequential read by `num_threads` threads over a buffer far larger
// than the caches; the best of several passes. 0 when the buffer (512 MiB) cannot be had.
double MeasureReadBandwidth(int num_threads);

}  // namespace tidal

#endif  // TIDAL_TOOLS_BENCH_READ_BANDWIDTH_H_
