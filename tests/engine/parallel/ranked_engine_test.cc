// Several ranks through rank 0's engine: what they answer, and how they end.
#include "engine/parallel/ranked_engine.h"

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/parallel/shared_link.h"
#include "engine/parallel/step_codec.h"
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

// Of a step of one sequence: tokens that have this remainder of 32.
StepMasks OnlyRemainder(const Engine& engine, size_t remainder) {
  const size_t num_words = (static_cast<size_t>(engine.info().vocab_size) + 31) / 32;
  return {{0}, std::vector<uint32_t>(num_words, 1u << (remainder % 32))};
}

// Greedy tokens through Execute(); under a mask each, where they are to be.
std::vector<TokenId> Generate(Engine& engine, int count, bool masked = false) {
  TestSequence sequence = SomeSequence();
  std::vector<TokenId> tokens;
  while (static_cast<int>(tokens.size()) < count) {
    const bool decodes = !tokens.empty();
    StepInput step = {{decodes ? sequence.Decode() : sequence.Prefill(sequence.remaining())}};
    step.sequences[0].masked = masked;
    const auto output = engine.Execute(step, OnlyRemainder(engine, tokens.size()));
    if (!output.ok()) break;
    sequence.num_computed_tokens = sequence.size();
    tokens.push_back(output->sequences[0].sampled[0].id);
    sequence.tokens.push_back(tokens.back());
  }
  return tokens;
}

// The masked ones again, each step launched before the one before it is collected.
std::vector<TokenId> GenerateAhead(Engine& engine, int count) {
  TestSequence sequence = SomeSequence();
  std::vector<TokenId> tokens;
  StepInput step = {{sequence.Prefill(sequence.size())}};
  step.sequences[0].masked = true;
  engine.Launch(step);
  engine.Sample(OnlyRemainder(engine, 0));
  const auto collect = [&] {
    const auto output = engine.Collect();
    EXPECT_TRUE(output.ok()) << output.status();
    if (!output.ok()) return;
    sequence.num_computed_tokens = sequence.size();
    tokens.push_back(output->sequences[0].sampled[0].id);
    sequence.tokens.push_back(tokens.back());
  };
  for (int i = 1; i < count; ++i) {
    ScheduledSequence row = sequence.Decode();
    row.masked = true;
    row.new_in_slot = false;
    row.num_sent_blocks = static_cast<int32_t>(sequence.blocks.size());
    row.num_computed_tokens = sequence.size();
    row.num_pending_tokens = 1;
    row.wanted = Wanted::kLastToken;
    engine.Launch({{row}});
    collect();
    engine.Sample(OnlyRemainder(engine, tokens.size()));
  }
  collect();
  return tokens;
}

TEST(RankedEngineTest, AnswersAsOneRankAndEndsInOrder) {
  const TinyModel model({});
  const EngineConfig config = ConfigOf(model);
  auto alone = Engine::Create(config, MakeCpuBackend({.num_threads = 1}));
  ASSERT_TRUE(alone.ok());
  const std::vector<TokenId> expected = Generate(**alone, 20);
  const std::vector<TokenId> masked = Generate(**alone, 20, /*masked=*/true);
  for (size_t i = 0; i < masked.size(); ++i) EXPECT_EQ(masked[i] % 32, i);
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
    EXPECT_EQ(Generate(**engine, 20, /*masked=*/true), masked);
    EXPECT_EQ(GenerateAhead(**engine, 20), masked);
    EXPECT_EQ(Generate(**engine, 20), expected);
    engine->reset();
    for (const absl::Status& result : followers.Join()) EXPECT_TRUE(result.ok()) << result;
  }
}

// Rank 0 as a list of what it says; an empty message: nothing, for a while.
class ScriptedLink final : public RankLink {
 public:
  explicit ScriptedLink(std::vector<std::string> script) : script_(std::move(script)) {}
  int32_t rank() const override { return 1; }
  int32_t size() const override { return 2; }
  absl::Status Send(absl::Span<const char> /*message*/) override { return absl::OkStatus(); }
  absl::StatusOr<bool> Receive(absl::Duration /*patience*/, std::vector<char>* message) override {
    if (next_ == script_.size()) return absl::UnavailableError("the script has ended");
    const std::string& said = script_[next_++];
    message->assign(said.begin(), said.end());
    return !said.empty();
  }
  absl::StatusOr<std::vector<int64_t>> Gather(int64_t mine) override {
    return std::vector<int64_t>{mine, mine};
  }
  void Fail(absl::string_view /*reason*/) override {}

 private:
  const std::vector<std::string> script_;
  size_t next_ = 0;
};

// An engine that writes down what it is told; a step that it may not collect yet is an error.
class RecordingEngine final : public Engine {
 public:
  explicit RecordingEngine(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}
  void Launch(const StepInput& input) override {
    calls += input.masked() ? 'M' : 'L';
    engine_->Launch(input);
  }
  void Sample(const StepMasks& masks) override {
    calls += 'S';
    engine_->Sample(masks);
  }
  absl::StatusOr<StepOutput> Collect() override {
    calls += 'C';
    return engine_->Collect();
  }
  const EngineInfo& info() const override { return engine_->info(); }
  void FillKvCacheWithRandomNumbers() override { engine_->FillKvCacheWithRandomNumbers(); }

  std::string calls;

 private:
  std::unique_ptr<Engine> engine_;
};

// Rank 0 may take its time over the masks of a step, or end before they are there.
TEST(RankedEngineTest, AFollowerLeavesAStepThatWaitsForItsMasks) {
  const TinyModel model({});
  auto alone = Engine::Create(ConfigOf(model), MakeCpuBackend({.num_threads = 1}));
  ASSERT_TRUE(alone.ok()) << alone.status();
  RecordingEngine engine(*std::move(alone));
  const TestSequence prompt = SomeSequence();
  const auto message = [&](char kind, auto encode) {
    std::vector<char> bytes = {kind};
    encode(&bytes);
    return std::string(bytes.begin(), bytes.end());
  };
  StepEncoder encoder(engine.info().max_num_seqs);
  const auto step_of = [&](bool masked, int32_t pending) {
    StepInput step = {{pending == 0 ? prompt.Prefill(5) : prompt.Decode()}};
    ScheduledSequence& row = step.sequences[0];
    row.masked = masked;
    row.num_pending_tokens = pending;
    row.new_in_slot = pending == 0;
    row.num_computed_tokens = pending == 0 ? 0 : prompt.size() + pending - 1;
    row.wanted = Wanted::kLastToken;
    if (pending > 0) row.num_sent_blocks = static_cast<int32_t>(prompt.blocks.size());
    return message('s', [&](std::vector<char>* out) { encoder.Encode(step, out); });
  };
  const std::string masks =
      message('m', [&](std::vector<char>* out) { EncodeMasks(OnlyRemainder(engine, 1), out); });
  const std::string silence, end = "e";
  {
    const std::string first = step_of(true, 0), ahead = step_of(true, 1);
    ScriptedLink link({first, silence, masks, ahead, silence, masks, silence, end});
    EXPECT_TRUE(FollowRankZero(&engine, &link).ok());
    EXPECT_EQ(engine.calls,
              "MS"
              "MC"
              "SC");
  }
  engine.calls.clear();
  {
    const std::string plain = step_of(false, 0), ahead = step_of(true, 1);
    ScriptedLink link({plain, ahead, end});
    EXPECT_TRUE(FollowRankZero(&engine, &link).ok());
    EXPECT_EQ(engine.calls, "LMC") << "the last one is nobody's";
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
