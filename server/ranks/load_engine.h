// The engine that an operator's options describe: this process's part of it, where ranks compute a
// model together.
#ifndef TIDAL_SERVER_RANKS_LOAD_ENGINE_H_
#define TIDAL_SERVER_RANKS_LOAD_ENGINE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "engine/parallel/rank_link.h"
#include "server/config/server_config.h"
#include "server/ranks/rank_processes.h"

namespace tidal {

struct LoadedEngine {
  std::unique_ptr<RankLink> link;  // where there is a group
  std::unique_ptr<Engine> engine;
};

// Of the rank of options.backend.group, which outlives it; without one, alone. Errors name the
// flag, file or field.
absl::StatusOr<LoadedEngine> LoadEngine(const ModelOptions& options);

// Starts the other ranks of options->tensor_parallel_size and puts their group into *options; null
// where there is one rank. As RankProcesses::Start().
absl::StatusOr<std::unique_ptr<RankProcesses>> StartRanks(ModelOptions* options);

// The whole life of a rank other than 0. Returns the process's exit status; what went wrong is in
// the log.
int RunRank(ModelOptions options, RankGroup* group);

}  // namespace tidal

#endif  // TIDAL_SERVER_RANKS_LOAD_ENGINE_H_
