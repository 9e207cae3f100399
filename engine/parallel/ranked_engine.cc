#include "engine/parallel/ranked_engine.h"

#include <utility>

#include "engine/base/status_macros.h"

namespace tidal {
namespace {

// The first byte of a message.
constexpr char kStep = 's', kMasks = 'm', kFillKvCache = 'f', kEnd = 'e';

// A follower with nothing to do looks so often whether its device has failed.
constexpr absl::Duration kIdleLook = absl::Milliseconds(200);

StepLimits LimitsOf(const EngineInfo& info) {
  const int32_t blocks = (info.max_model_len + info.block_size - 1) / info.block_size;
  return {info.max_num_seqs, info.max_model_len, blocks};
}

// Runs what it is told, up to as many steps ahead as rank 0 does.
class Follower {
 public:
  Follower(Engine* engine, RankLink* link)
      : engine_(engine), link_(link), decoder_(LimitsOf(engine->info())) {}

  absl::Status Run() {
    std::vector<char> message;
    for (;;) {
      TIDAL_ASSIGN_OR_RETURN(const bool came, link_->Receive(kIdleLook, &message));
      if (!came) {
        TIDAL_RETURN_IF_ERROR(CollectSampled());
        continue;
      }
      if (message.empty() || message[0] == kEnd) return CollectSampled();
      if (message[0] == kFillKvCache) {
        engine_->FillKvCacheWithRandomNumbers();
        continue;
      }
      if (message[0] == kMasks) {
        TIDAL_ASSIGN_OR_RETURN(const StepMasks masks,
                               DecodeMasks(absl::MakeConstSpan(message).subspan(1)));
        engine_->Sample(masks);
        awaits_masks_ = false;
        continue;
      }
      TIDAL_ASSIGN_OR_RETURN(const StepInput input,
                             decoder_.Decode(absl::MakeConstSpan(message).subspan(1)));
      TIDAL_RETURN_IF_ERROR(CollectAllBut(Executor::kMaxInFlight - 1));
      engine_->Launch(input);
      awaits_masks_ = input.masked();
      ++in_flight_;
    }
  }

 private:
  // Not the newest step, while its masks are still to come.
  absl::Status CollectSampled() { return CollectAllBut(awaits_masks_ ? 1 : 0); }
  absl::Status CollectAllBut(int steps) {
    for (; in_flight_ > steps; --in_flight_) {
      TIDAL_RETURN_IF_ERROR(engine_->Collect().status());
    }
    return absl::OkStatus();
  }

  Engine* const engine_;
  RankLink* const link_;
  StepDecoder decoder_;
  int in_flight_ = 0;
  bool awaits_masks_ = false;  // the newest step does
};

}  // namespace

RankedEngine::RankedEngine(std::unique_ptr<Engine> engine, RankLink* link)
    : engine_(std::move(engine)), link_(link), encoder_(engine_->info().max_num_seqs) {}

RankedEngine::~RankedEngine() { Send(kEnd); }

void RankedEngine::Send(char command) {
  message_.assign(1, command);
  status_.Update(link_->Send(message_));
}

void RankedEngine::Launch(const StepInput& input) {
  message_.assign(1, kStep);
  encoder_.Encode(input, &message_);
  status_.Update(link_->Send(message_));
  engine_->Launch(input);
}

void RankedEngine::Sample(const StepMasks& masks) {
  message_.assign(1, kMasks);
  EncodeMasks(masks, &message_);
  status_.Update(link_->Send(message_));
  engine_->Sample(masks);
}

absl::StatusOr<StepOutput> RankedEngine::Collect() {
  absl::StatusOr<StepOutput> output = engine_->Collect();
  if (!status_.ok()) return status_;
  return output;
}

void RankedEngine::FillKvCacheWithRandomNumbers() {
  Send(kFillKvCache);
  engine_->FillKvCacheWithRandomNumbers();
}

absl::Status FollowRankZero(Engine* engine, RankLink* link) {
  absl::Status status = Follower(engine, link).Run();
  if (!status.ok()) link->Fail(status.message());  // unless another rank was the first
  return status;
}

}  // namespace tidal
