// Drives a real model step by step and looks between its parts.
#ifndef TIDAL_TESTS_SUPPORT_ENGINE_HARNESS_H_
#define TIDAL_TESTS_SUPPORT_ENGINE_HARNESS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/attention_config.h"
#include "engine/engine.h"
#include "engine/model/model_runner.h"
#include "engine/model/token_selection.h"
#include "tests/support/test_sequence.h"

namespace tidal {

// What one step computed for one sequence.
struct StepTrace {
  std::vector<float> logits;  // [vocab]; empty where none were needed
  bool ran_sparse = false;
  // Selecting layer -> its sets (one, or one a KV head); only of sparse rows.
  std::map<int32_t, std::vector<SelectedTokens>> selected;
  // Selecting layer -> the query that selected, [H, D].
  std::map<int32_t, std::vector<float>> queries;
};

// A model on the back end of MakeTestBackend(). Aborts the test when it cannot be loaded.
std::unique_ptr<ModelRunner> LoadForTest(const EngineConfig& config);
// The same with these attention settings.
std::unique_ptr<ModelRunner> LoadForTest(const EngineConfig& config,
                                         const SparseAttentionConfig& attention);

// One forward pass without sampling; results in the order of `sequences`. Poisons the sets of the
// step before.
std::vector<StepTrace> RunForward(ModelRunner& runner, std::vector<ScheduledSequence> sequences);

// Runs the prompt of `sequence` in chunks of at most `chunk` tokens and moves it forward; the
// logits of its last token.
std::vector<float> RunPrefill(ModelRunner& runner, TestSequence& sequence, int32_t chunk);

// Appends `token` and decodes it.
StepTrace RunDecode(ModelRunner& runner, TestSequence& sequence, TokenId token);

// Prefill, then `count` greedy tokens, by Execute().
std::vector<TokenId> GenerateGreedy(ModelRunner& runner, TestSequence& sequence, int32_t count,
                                    int32_t chunk);

// The first `count` rows that one head of one layer has in the cache, as `sequence` finds them:
// [count, D]. `part` is 'k' or 'v'.
std::vector<float> ReadKv(ModelRunner& runner, const TestSequence& sequence, char part,
                          int32_t layer, int32_t kv_head, int32_t count);

// Overwrites one such row.
void WriteKv(ModelRunner& runner, const TestSequence& sequence, char part, int32_t layer,
             int32_t kv_head, int32_t position, float value);

// Copies the whole cache between two runners of the same model and memory plan.
void CopyKvCache(ModelRunner& from, ModelRunner& to);

// Index of the largest; ties to the lower.
TokenId ArgMax(const std::vector<float>& logits);

// Blocks first, first + 1, ... for `tokens` tokens.
std::vector<BlockId> ConsecutiveBlocks(BlockId first, int32_t tokens, int32_t block_size);

}  // namespace tidal

#endif  // TIDAL_TESTS_SUPPORT_ENGINE_HARNESS_H_
