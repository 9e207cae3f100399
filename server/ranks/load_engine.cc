#include "server/ranks/load_engine.h"

#include <string>
#include <utility>

#include "engine/base/status_macros.h"
#include "engine/parallel/ranked_engine.h"
#include "engine/parallel/shared_link.h"
#include "kernels/backends.h"
#include "server/observe/logging.h"

namespace tidal {

absl::StatusOr<LoadedEngine> LoadEngine(const ModelOptions& options) {
  std::string message;
  std::unique_ptr<Backend> backend = MakeBackend(options.backend, &message);
  if (backend == nullptr) return absl::UnavailableError(message);
  if (!message.empty()) Log(LogLevel::kInfo, "running on the CPU", {{"reason", message}});
  EngineConfig config = options.engine;
  if (config.kv_cache_bytes == 0 && backend->info().shares_host_memory) {
    config.kv_cache_bytes = kCpuKvCacheBytes;
  }
  LoadedEngine loaded;
  if (options.backend.group != nullptr) loaded.link = MakeSharedLink(options.backend.group);
  TIDAL_ASSIGN_OR_RETURN(loaded.engine,
                         Engine::Create(config, std::move(backend), loaded.link.get()));
  return loaded;
}

absl::StatusOr<std::unique_ptr<RankProcesses>> StartRanks(ModelOptions* options) {
  if (options->tensor_parallel_size == 1) return nullptr;
  TIDAL_ASSIGN_OR_RETURN(std::unique_ptr<RankProcesses> ranks,
                         RankProcesses::Start(options->tensor_parallel_size, [&](RankGroup* group) {
                           return RunRank(*options, group);
                         }));
  options->backend.group = ranks->group();
  return ranks;
}

int RunRank(ModelOptions options, RankGroup* group) {
  SetLogRank(group->rank());
  options.backend.group = group;
  absl::StatusOr<LoadedEngine> loaded = LoadEngine(options);
  const absl::Status status =
      loaded.ok() ? FollowRankZero(loaded->engine.get(), loaded->link.get()) : loaded.status();
  if (status.ok()) return 0;
  // Where another rank has failed, that one says what it was.
  if (!group->failed() || group->failed_rank() == group->rank()) {
    Log(LogLevel::kError, "a rank cannot go on; all ranks end", {{"reason", status.message()}});
  }
  group->Fail(group->rank(), {status.message().data(), status.message().size()});
  return 1;
}

}  // namespace tidal
