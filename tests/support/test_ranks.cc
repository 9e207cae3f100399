#include "tests/support/test_ranks.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "engine/base/check.h"
#include "engine/parallel/shared_link.h"
#include "tests/support/test_backend.h"

namespace tidal {

TestRanks::TestRanks(const EngineConfig& config, const SparseAttentionConfig& attention, int size)
    : groups_(MakeTestGroup(size, /*own_views=*/!BatchesAreBitwiseEqual())),
      links_(size),
      runners_(size) {
  const auto model = ReadModelConfig(config.model_path);
  TIDAL_CHECK(model.ok());
  OnEachRank(size, [&](int rank) {
    links_[rank] = MakeSharedLink(groups_[rank].get());
    auto runner = ModelRunner::Load(config, *model, {attention, "test"},
                                    MakeTestBackend(groups_[rank].get()), links_[rank].get());
    if (!runner.ok()) {
      std::fprintf(stderr, "rank %d: %s\n", rank, runner.status().ToString().c_str());
      std::abort();
    }
    runners_[rank] = *std::move(runner);
  });
}

}  // namespace tidal
