// The parts of a model on ranks of one process.
#ifndef TIDAL_TESTS_SUPPORT_TEST_RANKS_H_
#define TIDAL_TESTS_SUPPORT_TEST_RANKS_H_

#include <memory>
#include <vector>

#include "engine/attention_config.h"
#include "engine/engine.h"
#include "engine/model/model_runner.h"
#include "engine/parallel/rank_link.h"
#include "tests/support/test_group.h"

namespace tidal {

// Each on a back end of MakeTestBackend(), to be run alike: with OnEachRank().
class TestRanks {
 public:
  // Aborts the test when it cannot be loaded.
  TestRanks(const EngineConfig& config, const SparseAttentionConfig& attention, int size);

  int size() const { return static_cast<int>(runners_.size()); }
  ModelRunner& runner(int rank) { return *runners_[rank]; }

 private:
  std::vector<std::unique_ptr<RankGroup>> groups_;
  std::vector<std::unique_ptr<RankLink>> links_;
  std::vector<std::unique_ptr<ModelRunner>> runners_;
};

}  // namespace tidal

#endif  // TIDAL_TESTS_SUPPORT_TEST_RANKS_H_
