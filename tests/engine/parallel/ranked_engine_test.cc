// Several ranks through rank 0's engine: what they answer, and how they end.
#include "engine/parallel/ranked_engine.h"

#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "engine/parallel/shared_link.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "tests/support/forwarding_backend.h"
#include "tests/support/test_group.h"
#include "tests/support/test_sequence.h"
#include "tests/support/tiny_model.h"

namespace tidal {
namespace {

EngineConfig ConfigOf(const TinyModel& model) {
  EngineConfig config;
  config.model_path = model.path();
  config.kv_cache_bytes = 4 << 20;
  config.max_model_len = 128;
  config.max_num_seqs = 4;
  config.max_num_batched_tokens = 64;
  return config;
}

// Ranks 1, 2, ... follow on threads of their own until rank 0's engine ends.
class Followers {
 public:
  Followers(const EngineConfig& config, int size) : groups_(MakeTestGroup(size)), results_(size) {
    for (int rank = 1; rank < size; ++rank) {
      threads_.emplace_back([this, &config, rank] {
        const auto link = MakeSharedLink(groups_[rank].get());
        auto engine = Engine::Create(
            config, MakeCpuBackend({.num_threads = 1, .group = groups_[rank].get()}), link.get());
        results_[rank] = engine.ok() ? FollowRankZero(engine->get(), link.get()) : engine.status();
        if (!engine.ok()) link->Fail(engine.status().message());
      });
    }
  }
  ~Followers() { Join(); }

  RankGroup* group() { return groups_[0].get(); }
  const std::vector<absl::Status>& Join() {
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
    return results_;
  }

 private:
  std::vector<std::unique_ptr<RankGroup>> groups_;
  std::vector<absl::Status> results_;
  std::vector<std::thread> threads_;
};

TestSequence SomeSequence() { return {1, {5, 6, 7, 8, 9}, {3, 4}}; }

// Greedy tokens through Execute(), two steps in flight where one can be launched ahead.
std::vector<TokenId> Generate(Engine& engine, int count) {
  TestSequence sequence = SomeSequence();
  std::vector<TokenId> tokens;
  while (static_cast<int>(tokens.size()) < count) {
    const bool decodes = !tokens.empty();
    const auto output =
        engine.Execute({{decodes ? sequence.Decode() : sequence.Prefill(sequence.remaining())}});
    if (!output.ok()) break;
    sequence.num_computed_tokens = sequence.size();
    tokens.push_back(output->sequences[0].sampled[0].id);
    sequence.tokens.push_back(tokens.back());
  }
  return tokens;
}

TEST(RankedEngineTest, AnswersAsOneRankAndEndsInOrder) {
  const TinyModel model({});
  const EngineConfig config = ConfigOf(model);
  auto alone = Engine::Create(config, MakeCpuBackend({.num_threads = 1}));
  ASSERT_TRUE(alone.ok());
  const std::vector<TokenId> expected = Generate(**alone, 20);
  for (int size : {2, 4}) {
    Followers followers(config, size);
    const auto link = MakeSharedLink(followers.group());
    auto engine = Engine::Create(
        config, MakeCpuBackend({.num_threads = 1, .group = followers.group()}), link.get());
    ASSERT_TRUE(engine.ok()) << engine.status();
    EXPECT_EQ((*engine)->info().num_ranks, size);
    EXPECT_EQ((*engine)->info().memory.size(), static_cast<size_t>(size));
    EXPECT_EQ((*engine)->info().num_heads, 4) << "the model's";
    EXPECT_EQ(Generate(**engine, 20), expected);
    engine->reset();
    for (const absl::Status& result : followers.Join()) EXPECT_TRUE(result.ok()) << result;
  }
}

TEST(RankedEngineTest, AStepFailsWhenAnotherRankDoes) {
  const TinyModel model({});
  const EngineConfig config = ConfigOf(model);
  Followers followers(config, 2);
  const auto link = MakeSharedLink(followers.group());
  auto engine = Engine::Create(
      config, MakeCpuBackend({.num_threads = 1, .group = followers.group()}), link.get());
  ASSERT_TRUE(engine.ok()) << engine.status();
  EXPECT_EQ(Generate(**engine, 3).size(), 3u);
  followers.group()->Fail(1, "a test says so");
  const auto output = (*engine)->Execute({{SomeSequence().Prefill(5)}});
  EXPECT_EQ(output.status(), absl::UnavailableError("rank 1 of 2: a test says so"));
  EXPECT_EQ(followers.Join()[1], output.status());
}

TEST(RankedEngineTest, RankZeroHearsWhyAnotherCannotLoad) {
  const TinyModel model({});
  EngineConfig config = ConfigOf(model);
  EngineConfig other = config;
  other.kv_cache_bytes = 1;
  Followers followers(other, 2);
  const auto link = MakeSharedLink(followers.group());
  const auto engine = Engine::Create(
      config, MakeCpuBackend({.num_threads = 1, .group = followers.group()}), link.get());
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(engine.status().message().find("rank 1 of 2: kv_cache_bytes") == 0)
      << engine.status();
}

// A device that says how much memory it has.
class SmallDevice : public ForwardingBackend {
 public:
  SmallDevice(std::unique_ptr<Backend> backend, int64_t free_bytes)
      : ForwardingBackend(std::move(backend)), info_(ForwardingBackend::info()), free_(free_bytes) {
    info_.shares_host_memory = false;
    info_.name = "a small device";
  }
  const DeviceInfo& info() const override { return info_; }
  DeviceMemory memory() const override { return {free_, 2 * free_}; }

 private:
  DeviceInfo info_;
  const int64_t free_;
};

TEST(RankedEngineTest, AModelTooLargeSaysHowManyRanksWouldDo) {
  TinyModelSpec spec;
  spec.vocab_size = 32;
  spec.intermediate_size = 1024;
  const TinyModel model(spec);
  const auto with = [&](int64_t bytes) {
    auto device = std::make_unique<SmallDevice>(
        MakeCpuBackend({.num_threads = 1, .isa = CpuIsa::kPortable}), bytes);
    return Engine::Create(ConfigOf(model), std::move(device)).status();
  };
  const std::string half(with(2 << 20).message()), third(with(1 << 20).message());
  EXPECT_TRUE(half.find("weights: 3") == 0) << half;
  EXPECT_NE(half.find(" are missing; tensor_parallel_size 2 would do"), half.npos) << half;
  EXPECT_NE(third.find(" are missing; tensor_parallel_size 4 would do"), third.npos) << third;
  EXPECT_NE(with(1 << 10).message().find("; no number of ranks would do"), std::string::npos);
}

}  // namespace
}  // namespace tidal
