// tidal-bench load: drives a running server with many requests at once and reports how long their
// tokens took.
#ifndef TIDAL_TOOLS_BENCH_LOAD_BENCH_H_
#define TIDAL_TOOLS_BENCH_LOAD_BENCH_H_

namespace tidal {

// The sub-command, with its own flags: argv[0] is its name. Returns the exit code of the program: 0
// when every request succeeded.
int RunLoadBench(int argc, char** argv);

}  // namespace tidal

#endif  // TIDAL_TOOLS_BENCH_LOAD_BENCH_H_
