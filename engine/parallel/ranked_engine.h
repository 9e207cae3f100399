// One engine over several ranks: rank 0 launches its part of a step and tells the others to.
#ifndef TIDAL_ENGINE_PARALLEL_RANKED_ENGINE_H_
#define TIDAL_ENGINE_PARALLEL_RANKED_ENGINE_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "engine/parallel/rank_link.h"
#include "engine/parallel/step_codec.h"

namespace tidal {

// Rank 0's. All ranks sample alike, so what this rank's engine collects is the group's answer. The
// others end when it is destroyed. Not thread-safe.
class RankedEngine final : public Engine {
 public:
  // `engine`: of this rank's part. The link outlives it.
  RankedEngine(std::unique_ptr<Engine> engine, RankLink* link);
  ~RankedEngine() override;

  void Launch(const StepInput& input) override;
  void Sample(const StepMasks& masks) override;
  absl::StatusOr<StepOutput> Collect() override;
  bool can_run_ahead() const override { return engine_->can_run_ahead(); }
  const EngineInfo& info() const override { return engine_->info(); }
  void FillKvCacheWithRandomNumbers() override;

 private:
  void Send(char command);

  std::unique_ptr<Engine> engine_;
  RankLink* const link_;
  StepEncoder encoder_;
  std::vector<char> message_;
  absl::Status status_;  // of the link
};

// What the other ranks do: what rank 0 tells them, until it ends. Their engine is of their part.
// UNAVAILABLE when the group has failed.
absl::Status FollowRankZero(Engine* engine, RankLink* link);

}  // namespace tidal

#endif  // TIDAL_ENGINE_PARALLEL_RANKED_ENGINE_H_
