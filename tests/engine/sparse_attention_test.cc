// What sparse decoding promises, asserted on whole models: random weights, several head shapes.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/engine_harness.h"
#include "tests/support/test_backend.h"
#include "tests/support/tiny_model.h"

namespace tidal {
namespace {

constexpr int32_t kBlockSize = 16;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Shape {
  const char* name;
  int32_t num_heads, num_kv_heads, head_dim;
  bool tied;
  const char* pattern;
  SelectionGranularity granularity;
  SelectionScore score;
};

void PrintTo(const Shape& shape, std::ostream* stream) { *stream << shape.name; }

constexpr auto kShared = SelectionGranularity::kShared;
constexpr auto kKvHead = SelectionGranularity::kKvHead;
constexpr auto kSum = SelectionScore::kSoftmaxSum;
constexpr auto kMax = SelectionScore::kMaxLogit;

const Shape kShapes[] = {
    {"MhaPaper", 4, 4, 16, true, "DDSRSR", kKvHead, kMax},
    {"GqaShared", 4, 2, 32, false, "DDSRSR", kShared, kSum},
    {"GqaKvHead", 6, 2, 16, true, "DSRRSR", kKvHead, kSum},
    {"MqaShared", 4, 1, 64, false, "SRRRRR", kShared, kMax},
    {"Anchor", 4, 2, 16, true, "DARRAR", kShared, kSum},
};

std::vector<TokenId> RandomTokens(int32_t count, uint32_t seed) {
  std::vector<TokenId> tokens(count);
  uint32_t state = seed * 2654435761u + 12345;
  for (TokenId& token : tokens) {
    state = state * 1664525u + 1013904223u;
    token = static_cast<TokenId>(state >> 16) % 101;
  }
  return tokens;
}

// Results of the same rows in another batch: equal to the bit where the back end promises it, else
// up to the rounding of a few layers (see BatchesAreBitwiseEqual()).
void ExpectSameRows(const std::vector<float>& actual, const std::vector<float>& expected,
                    const std::string& what) {
  if (BatchesAreBitwiseEqual()) {
    EXPECT_EQ(actual, expected) << what;
    return;
  }
  ASSERT_EQ(actual.size(), expected.size()) << what;
  float largest = 0, worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    worst = std::max(worst, std::abs(actual[i] - expected[i]));
  }
  EXPECT_LE(worst, 0.03f * largest) << what;
}

class SparseAttentionTest : public ::testing::TestWithParam<Shape> {
 protected:
  SparseAttentionTest() : model_(Spec()), runner_(LoadForTest(Config(), Attention())) {}

  static TinyModelSpec Spec() {
    TinyModelSpec spec;
    spec.num_heads = GetParam().num_heads;
    spec.num_kv_heads = GetParam().num_kv_heads;
    spec.head_dim = GetParam().head_dim;
    spec.tie_word_embeddings = GetParam().tied;
    return spec;
  }
  EngineConfig Config() const {
    EngineConfig config;
    config.model_path = model_.path();
    config.block_size = kBlockSize;
    config.kv_cache_bytes = 16 << 20;
    config.max_num_seqs = 8;
    config.max_num_batched_tokens = 512;
    return config;
  }
  static SparseAttentionConfig Attention() {
    SparseAttentionConfig attention;
    attention.pattern = GetParam().pattern;
    attention.granularity = GetParam().granularity;
    attention.score = GetParam().score;
    attention.sinks = 2;
    attention.recency_fraction = 0.25f;
    return attention;
  }
  // A sequence with its own blocks that decodes sparsely above `budget` tokens.
  static TestSequence Sequence(SequenceId id, int32_t tokens, int32_t budget) {
    TestSequence sequence(id, RandomTokens(tokens, static_cast<uint32_t>(id)),
                          ConsecutiveBlocks(static_cast<BlockId>(id) * 20, 320, kBlockSize));
    sequence.attention = {AttentionMode::kTidal, budget, 0};
    return sequence;
  }
  // Prefilled, and with one more token waiting to be decoded.
  TestSequence Ready(SequenceId id, int32_t tokens, int32_t budget) {
    TestSequence sequence = Sequence(id, tokens, budget);
    RunPrefill(*runner_, sequence, 512);
    sequence.tokens.push_back(static_cast<TokenId>(id * 7 % 101));
    return sequence;
  }
  StepTrace Step(const TestSequence& sequence) {
    return RunForward(*runner_, {sequence.Decode()})[0];
  }
  // Layers that read a set -> the layer that chose it.
  static std::map<int32_t, int32_t> ReuseLayers() {
    std::map<int32_t, int32_t> layers;
    int32_t selecting = -1;
    const std::string pattern = GetParam().pattern;
    for (int32_t i = 0; i < static_cast<int32_t>(pattern.size()); ++i) {
      if (pattern[i] == 'S' || pattern[i] == 'A') selecting = i;
      if (pattern[i] == 'R') layers[i] = selecting;
    }
    return layers;
  }
  // The set that KV head `head` reads.
  static const std::vector<int32_t>& SetOf(const StepTrace& trace, int32_t layer, int32_t head) {
    const auto& sets = trace.selected.at(layer);
    return sets[sets.size() == 1 ? 0 : head].positions;
  }

  TinyModel model_;
  std::unique_ptr<ModelRunner> runner_;
};

TEST_P(SparseAttentionTest, BudgetOfTheWholeContextIsDense) {
  TestSequence sequence = Ready(1, 90, 91);
  const StepTrace whole = Step(sequence);
  EXPECT_FALSE(whole.ran_sparse);
  sequence.attention = {};
  const StepTrace dense = Step(sequence);
  EXPECT_EQ(whole.logits, dense.logits);
  // One token less is sparse, and so is everything above dense_below.
  sequence.attention = {AttentionMode::kTidal, 90, 0};
  EXPECT_TRUE(Step(sequence).ran_sparse);
  sequence.attention = {AttentionMode::kTidal, 10, 91};
  EXPECT_EQ(Step(sequence).logits, dense.logits);
  sequence.attention = {AttentionMode::kTidal, 10, 90};
  const StepTrace sparse = Step(sequence);
  EXPECT_TRUE(sparse.ran_sparse);
  EXPECT_NE(sparse.logits, dense.logits);
}

TEST_P(SparseAttentionTest, SetsAreWellFormed) {
  const int32_t sets = GetParam().granularity == kShared ? 1 : GetParam().num_kv_heads;
  for (const auto& [context, budget] : {std::pair(97, 24), {33, 32}, {64, 1}, {200, 9}}) {
    const TestSequence sequence = Ready(1, context - 1, budget);
    const StepTrace trace = Step(sequence);
    ASSERT_TRUE(trace.ran_sparse);
    EXPECT_EQ(static_cast<size_t>(2), trace.selected.size() + (GetParam().pattern[0] == 'S'));
    for (const auto& [layer, selected] : trace.selected) {
      ASSERT_EQ(selected.size(), static_cast<size_t>(sets));
      for (const SelectedTokens& set : selected) {
        ASSERT_EQ(set.positions.size(), static_cast<size_t>(budget));
        EXPECT_TRUE(std::is_sorted(set.positions.begin(), set.positions.end()));
        EXPECT_EQ(std::set<int32_t>(set.positions.begin(), set.positions.end()).size(),
                  set.positions.size());
        EXPECT_GE(set.positions.front(), 0);
        EXPECT_EQ(set.positions.back(), context - 1);  // the current token
        const int32_t recency = budget / 4;
        for (int32_t i = 1; i <= recency; ++i) {
          EXPECT_EQ(set.positions[budget - 1 - i], context - 1 - i);
        }
        if (budget >= 2 + recency + 1) {
          EXPECT_EQ(set.positions[0], 0);
          EXPECT_EQ(set.positions[1], 1);
        }
        for (int32_t i = 0; i < budget; ++i) {
          const int32_t position = set.positions[i];
          EXPECT_EQ(set.slots[i],
                    sequence.blocks[position / kBlockSize] * kBlockSize + position % kBlockSize);
        }
      }
    }
  }
}

// The ranked members are those with the highest scores, computed here in double from the query and
// the cached keys; only scores that differ by less than the tolerance may change places.
TEST_P(SparseAttentionTest, SetsAreTheTopTokensByScore) {
  constexpr double kTolerance = 1e-3;
  const int32_t budget = 24;
  TestSequence sequence = Ready(1, 150, budget);
  const StepTrace trace = Step(sequence);
  const int32_t context = sequence.size(), dim = GetParam().head_dim;
  const int32_t group = GetParam().num_heads / GetParam().num_kv_heads;
  for (const auto& [layer, selected] : trace.selected) {
    const std::vector<float>& query = trace.queries.at(layer);
    for (size_t set = 0; set < selected.size(); ++set) {
      std::vector<double> score(context, GetParam().score == kSum ? 0.0 : -1e30);
      for (int32_t head = 0; head < GetParam().num_heads; ++head) {
        if (GetParam().granularity == kKvHead && head / group != static_cast<int32_t>(set)) {
          continue;
        }
        const auto keys = ReadKv(*runner_, sequence, 'k', layer, head / group, context);
        std::vector<double> logit(context, 0);
        double sum = 0;
        for (int32_t p = 0; p < context; ++p) {
          for (int32_t d = 0; d < dim; ++d) logit[p] += query[head * dim + d] * keys[p * dim + d];
          sum += std::exp(logit[p] / std::sqrt(dim));
        }
        for (int32_t p = 0; p < context; ++p) {
          const double value = logit[p] / std::sqrt(dim);
          score[p] = GetParam().score == kSum ? score[p] + std::exp(value) / sum
                                              : std::max(score[p], value);
        }
      }
      const auto& positions = selected[set].positions;
      const std::set<int32_t> members(positions.begin(), positions.end());
      double lowest_in = 1e30, highest_out = -1e30;
      for (int32_t p = 2; p < context - 1 - budget / 4; ++p) {
        if (members.contains(p)) {
          lowest_in = std::min(lowest_in, score[p]);
        } else {
          highest_out = std::max(highest_out, score[p]);
        }
      }
      EXPECT_GE(lowest_in, highest_out - kTolerance * std::abs(highest_out)) << "layer " << layer;
    }
  }
}

// NaN in everything a reuse layer did not select changes nothing, in what it selected does.
TEST_P(SparseAttentionTest, ReuseLayersReadSelectedTokensOnly) {
  const int32_t budget = 20;
  const TestSequence sequence = Ready(1, 120, budget);
  const StepTrace clean = Step(sequence);
  for (const auto& [layer, selecting] : ReuseLayers()) {
    for (int32_t head = 0; head < GetParam().num_kv_heads; ++head) {
      const auto& set = SetOf(clean, selecting, head);
      for (int32_t p = 0; p < sequence.size(); ++p) {
        if (std::binary_search(set.begin(), set.end(), p)) continue;
        WriteKv(*runner_, sequence, 'k', layer, head, p, kNaN);
        WriteKv(*runner_, sequence, 'v', layer, head, p, kNaN);
      }
    }
  }
  // An anchor layer reads all of K to choose, but only what it chose of V.
  for (const auto& [layer, sets] : clean.selected) {
    if (GetParam().pattern[layer] != 'A') continue;
    for (int32_t head = 0; head < GetParam().num_kv_heads; ++head) {
      const auto& set = SetOf(clean, layer, head);
      for (int32_t p = 0; p < sequence.size(); ++p) {
        if (std::binary_search(set.begin(), set.end(), p)) continue;
        WriteKv(*runner_, sequence, 'v', layer, head, p, kNaN);
      }
    }
  }
  EXPECT_EQ(Step(sequence).logits, clean.logits);

  const auto [layer, selecting] = *ReuseLayers().begin();
  for (char part : {'k', 'v'}) {
    const int32_t chosen = SetOf(clean, selecting, 0)[budget / 2];
    const int32_t dim = GetParam().head_dim;
    const auto rows = ReadKv(*runner_, sequence, part, layer, 0, chosen + 1);
    WriteKv(*runner_, sequence, part, layer, 0, chosen, kNaN);
    EXPECT_TRUE(std::isnan(Step(sequence).logits[0])) << part;
    WriteKv(*runner_, sequence, part, layer, 0, chosen, rows[chosen * dim]);  // finite again
  }
}

TEST_P(SparseAttentionTest, BatchedEqualsAlone) {
  std::vector<TestSequence> sequences = {Ready(1, 300, 32), Ready(2, 17, 64), Ready(3, 100, 8),
                                         Ready(4, 1, 16), Ready(5, 64, 40)};
  sequences[4].attention = {};  // full
  TestSequence prompt = Sequence(6, 70, 8);
  std::vector<StepTrace> alone;
  for (const TestSequence& sequence : sequences) alone.push_back(Step(sequence));
  alone.push_back(RunForward(*runner_, {prompt.Prefill(70)})[0]);

  std::vector<ScheduledSequence> batch;
  for (const TestSequence& sequence : sequences) batch.push_back(sequence.Decode());
  batch.push_back(prompt.Prefill(70));
  // Whatever the order they are scheduled in.
  for (int rotation = 0; rotation < 3; ++rotation) {
    const std::vector<StepTrace> together = RunForward(*runner_, batch);
    for (size_t i = 0; i < batch.size(); ++i) {
      const size_t index = batch[i].id - 1;
      EXPECT_EQ(together[i].ran_sparse, index == 0 || index == 2);
      ExpectSameRows(together[i].logits, alone[index].logits,
                     "sequence " + std::to_string(batch[i].id));
    }
    std::rotate(batch.begin(), batch.begin() + 2, batch.end());
  }
}

TEST_P(SparseAttentionTest, ChunkedPrefillEqualsWholePrefill) {
  TestSequence whole = Sequence(1, 203, 16);
  const std::vector<float> expected = RunPrefill(*runner_, whole, 512);
  for (int32_t chunk : {1, 7, 16, 64, 202}) {
    TestSequence chunked = Sequence(1, 203, 16);
    chunked.blocks = ConsecutiveBlocks(40, 320, kBlockSize);
    const std::string what = "chunks of " + std::to_string(chunk);
    ExpectSameRows(RunPrefill(*runner_, chunked, chunk), expected, what);
    for (int32_t layer = 0; layer < runner_->info().num_layers; ++layer) {
      for (char part : {'k', 'v'}) {
        ExpectSameRows(ReadKv(*runner_, chunked, part, layer, 0, 203),
                       ReadKv(*runner_, whole, part, layer, 0, 203), what);
      }
    }
  }
}

TEST_P(SparseAttentionTest, PhysicalBlocksDoNotMatter) {
  const TestSequence plain = Ready(1, 150, 24);
  TestSequence shuffled = Sequence(1, 150, 24);
  for (size_t i = 0; i < shuffled.blocks.size(); ++i) {
    shuffled.blocks[i] = static_cast<BlockId>(100 - 3 * i);
  }
  RunPrefill(*runner_, shuffled, 512);
  shuffled.tokens = plain.tokens;
  const StepTrace expected = Step(plain), trace = Step(shuffled);
  EXPECT_EQ(trace.logits, expected.logits);
  for (const auto& [layer, sets] : expected.selected) {
    for (size_t set = 0; set < sets.size(); ++set) {
      EXPECT_EQ(trace.selected.at(layer)[set].positions, sets[set].positions);
      EXPECT_NE(trace.selected.at(layer)[set].slots, sets[set].slots);
    }
  }
}

TEST_P(SparseAttentionTest, SharedPrefixBlocksGiveTheSameTokens) {
  const TestSequence alone = Ready(1, 150, 24);
  const StepTrace expected = Step(alone);
  // A second sequence with the same first 96 tokens finds them in the first one's blocks.
  TestSequence sharing = Sequence(2, 150, 24);
  sharing.tokens.assign(alone.tokens.begin(), alone.tokens.end() - 1);
  std::copy_n(alone.blocks.begin(), 6, sharing.blocks.begin());
  sharing.num_computed_tokens = 96;
  RunPrefill(*runner_, sharing, 512);
  sharing.tokens = alone.tokens;
  const std::vector<StepTrace> both = RunForward(*runner_, {alone.Decode(), sharing.Decode()});
  ExpectSameRows(both[0].logits, expected.logits, "the owner of the blocks");
  ExpectSameRows(both[1].logits, expected.logits, "the one that shares them");
}

// The trap of telling prefill by "as many queries as tokens": a later chunk, even of one token, of
// a sequence whose decode rows would be sparse.
TEST_P(SparseAttentionTest, PromptChunksAreDenseBesideSparseRows) {
  const TestSequence decoding = Ready(1, 200, 16);
  TestSequence full = Sequence(2, 131, 16), tidal = full;
  full.attention = {};
  RunPrefill(*runner_, full, 512);
  tidal.blocks = ConsecutiveBlocks(60, 320, kBlockSize);
  for (int32_t chunk : {100, 30, 1}) {
    const auto traces = RunForward(*runner_, {tidal.Prefill(chunk), decoding.Decode()});
    EXPECT_FALSE(traces[0].ran_sparse);
    EXPECT_TRUE(traces[1].ran_sparse);
    tidal.num_computed_tokens += chunk;
  }
  for (int32_t layer = 0; layer < runner_->info().num_layers; ++layer) {
    ExpectSameRows(ReadKv(*runner_, tidal, 'k', layer, 0, 131),
                   ReadKv(*runner_, full, 'k', layer, 0, 131), "layer " + std::to_string(layer));
  }
}

TEST_P(SparseAttentionTest, CorrectionEqualsADensePrefill) {
  TestSequence sequence = Sequence(1, 100, 12);
  RunPrefill(*runner_, sequence, 512);
  for (TokenId token : RandomTokens(20, 99)) {
    EXPECT_TRUE(RunDecode(*runner_, sequence, token).ran_sparse);
  }
  TestSequence fresh = sequence;
  fresh.blocks = ConsecutiveBlocks(60, 320, kBlockSize);
  fresh.num_computed_tokens = 0;
  RunPrefill(*runner_, fresh, 512);
  const int32_t last = runner_->info().num_layers - 1;
  EXPECT_NE(ReadKv(*runner_, sequence, 'k', last, 0, 120),
            ReadKv(*runner_, fresh, 'k', last, 0, 120));

  sequence.num_computed_tokens = 100;
  RunPrefill(*runner_, sequence, 7);  // the decoded tokens again, as dense chunks
  for (int32_t layer = 0; layer <= last; ++layer) {
    for (int32_t head = 0; head < GetParam().num_kv_heads; ++head) {
      for (char part : {'k', 'v'}) {
        ExpectSameRows(ReadKv(*runner_, sequence, part, layer, head, 120),
                       ReadKv(*runner_, fresh, part, layer, head, 120),
                       "layer " + std::to_string(layer));
      }
    }
  }
  ExpectSameRows(RunDecode(*runner_, sequence, 5).logits, RunDecode(*runner_, fresh, 5).logits,
                 "the next token");
}

INSTANTIATE_TEST_SUITE_P(Shapes, SparseAttentionTest, ::testing::ValuesIn(kShapes),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace tidal
