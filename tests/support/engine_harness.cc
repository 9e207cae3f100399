#include "tests/support/engine_harness.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "engine/base/check.h"
#include "tests/support/test_backend.h"

namespace tidal {
namespace {

// Elements of one layer's K (or V).
int64_t LayerElements(ModelRunner& runner, const PagedKvCache& kv) {
  return int64_t{runner.kv_cache().num_blocks()} * kv.num_kv_heads * kv.block_size * kv.head_dim;
}

// Where one row of one head starts in a layer's K (or V).
int64_t RowOffset(const PagedKvCache& kv, const TestSequence& sequence, int32_t kv_head,
                  int32_t position) {
  const int64_t block = sequence.blocks[position / kv.block_size];
  return ((block * kv.num_kv_heads + kv_head) * kv.block_size + position % kv.block_size) *
         kv.head_dim;
}

std::vector<float> ToFloats(const std::vector<bfloat16>& values) {
  std::vector<float> out(values.size());
  std::transform(values.begin(), values.end(), out.begin(), [](bfloat16 x) { return ToFloat(x); });
  return out;
}

ModelConfig ReadModel(const EngineConfig& config) {
  auto model = ReadModelConfig(config.model_path);
  TIDAL_CHECK(model.ok());
  return *std::move(model);
}

std::unique_ptr<ModelRunner> Require(absl::StatusOr<std::unique_ptr<ModelRunner>> runner) {
  if (!runner.ok()) {
    std::fprintf(stderr, "cannot load the model: %s\n", runner.status().ToString().c_str());
    std::abort();
  }
  return *std::move(runner);
}

}  // namespace

std::unique_ptr<ModelRunner> LoadForTest(const EngineConfig& config) {
  const ModelConfig model = ReadModel(config);
  const auto attention = ResolveAttention(config.attention_profile, config.model_path, model);
  TIDAL_CHECK(attention.ok());
  return Require(ModelRunner::Load(config, model, *attention, MakeTestBackend()));
}

std::unique_ptr<ModelRunner> LoadForTest(const EngineConfig& config,
                                         const SparseAttentionConfig& attention) {
  return Require(
      ModelRunner::Load(config, ReadModel(config), {attention, "test"}, MakeTestBackend()));
}

std::vector<StepTrace> RunForward(ModelRunner& runner, std::vector<ScheduledSequence> sequences) {
  const StepInput input = {std::move(sequences)};
  const Batch& batch = runner.Pack(input);
  DecoderModel& model = runner.model();
  model.set_poison_selection(true);
  std::vector<StepTrace> traces(input.sequences.size());

  model.PoisonSelection(batch);
  model.Embed(batch);
  for (int32_t layer = 0; layer < runner.info().num_layers; ++layer) {
    model.RunLayer(layer, batch, runner.kv_cache());
    const LayerRole role = model.layer_plan().roles[layer];
    if (role != LayerRole::kSelect && role != LayerRole::kAnchor) continue;
    for (int32_t row = 0; row < batch.shape.sparse_rows; ++row) {
      StepTrace& trace = traces[runner.batch().order()[row]];
      trace.ran_sparse = true;
      for (int32_t set = 0; set < model.selection().num_sets(); ++set) {
        trace.selected[layer].push_back(model.selection().Read(batch.row_begins, row, set));
      }
      std::vector<bfloat16> query(runner.model_config().q_size());
      runner.backend().CopyToHost(query.data(),
                                  model.activations().q.As<bfloat16>() + row * query.size(),
                                  query.size() * sizeof(bfloat16));
      TIDAL_CHECK(runner.backend().Synchronize().empty());
      trace.queries[layer] = ToFloats(query);
    }
  }
  const float* logits = model.ComputeLogits(batch);
  const size_t vocab = runner.info().vocab_size;
  for (size_t row = 0; row < runner.batch().logit_order().size(); ++row) {
    std::vector<float>& out = traces[runner.batch().logit_order()[row]].logits;
    out.resize(vocab);
    runner.backend().CopyToHost(out.data(), logits + row * vocab, vocab * sizeof(float));
  }
  TIDAL_CHECK(runner.backend().Synchronize().empty());
  return traces;
}

std::vector<float> RunPrefill(ModelRunner& runner, TestSequence& sequence, int32_t chunk) {
  std::vector<float> logits;
  while (sequence.remaining() > 0) {
    const int32_t count = std::min(chunk, sequence.remaining());
    logits = RunForward(runner, {sequence.Prefill(count)})[0].logits;
    sequence.num_computed_tokens += count;
  }
  return logits;
}

StepTrace RunDecode(ModelRunner& runner, TestSequence& sequence, TokenId token) {
  sequence.tokens.push_back(token);
  StepTrace trace = std::move(RunForward(runner, {sequence.Decode()})[0]);
  sequence.num_computed_tokens = sequence.size();
  return trace;
}

std::vector<TokenId> GenerateGreedy(ModelRunner& runner, TestSequence& sequence, int32_t count,
                                    int32_t chunk) {
  std::vector<TokenId> output;
  while (static_cast<int32_t>(output.size()) < count) {
    const bool decode = !output.empty();
    const int32_t tokens = std::min(chunk, sequence.remaining());
    const auto step = runner.Execute({{decode ? sequence.Decode() : sequence.Prefill(tokens)}});
    TIDAL_CHECK(step.ok());
    sequence.num_computed_tokens += tokens;
    if (step->sequences[0].sampled.empty()) continue;
    output.push_back(step->sequences[0].sampled[0].id);
    sequence.tokens.push_back(output.back());
  }
  return output;
}

std::vector<float> ReadKv(ModelRunner& runner, const TestSequence& sequence, char part,
                          int32_t layer, int32_t kv_head, int32_t count) {
  const PagedKvCache kv = runner.kv_cache().layer(layer);
  const bfloat16* base = part == 'k' ? kv.k : kv.v;
  std::vector<bfloat16> rows(static_cast<size_t>(count) * kv.head_dim);
  for (int32_t p = 0; p < count; ++p) {
    runner.backend().CopyToHost(rows.data() + static_cast<size_t>(p) * kv.head_dim,
                                base + RowOffset(kv, sequence, kv_head, p),
                                kv.head_dim * sizeof(bfloat16));
  }
  TIDAL_CHECK(runner.backend().Synchronize().empty());
  return ToFloats(rows);
}

void WriteKv(ModelRunner& runner, const TestSequence& sequence, char part, int32_t layer,
             int32_t kv_head, int32_t position, float value) {
  const PagedKvCache kv = runner.kv_cache().layer(layer);
  const std::vector<bfloat16> row(kv.head_dim, ToBFloat16(value));
  runner.backend().CopyToDevice(
      (part == 'k' ? kv.k : kv.v) + RowOffset(kv, sequence, kv_head, position), row.data(),
      row.size() * sizeof(bfloat16));
  TIDAL_CHECK(runner.backend().Synchronize().empty());
}

void CopyKvCache(ModelRunner& from, ModelRunner& to) {
  TIDAL_CHECK(from.kv_cache().bytes() == to.kv_cache().bytes());
  std::vector<bfloat16> host;
  for (int32_t layer = 0; layer < from.info().num_layers; ++layer) {
    const PagedKvCache source = from.kv_cache().layer(layer), target = to.kv_cache().layer(layer);
    host.resize(LayerElements(from, source));
    const size_t bytes = host.size() * sizeof(bfloat16);
    for (const auto& [in, out] : {std::pair(source.k, target.k), std::pair(source.v, target.v)}) {
      from.backend().CopyToHost(host.data(), in, bytes);
      TIDAL_CHECK(from.backend().Synchronize().empty());
      to.backend().CopyToDevice(out, host.data(), bytes);
      TIDAL_CHECK(to.backend().Synchronize().empty());
    }
  }
}

TokenId ArgMax(const std::vector<float>& logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

std::vector<BlockId> ConsecutiveBlocks(BlockId first, int32_t tokens, int32_t block_size) {
  std::vector<BlockId> blocks((tokens + block_size - 1) / block_size);
  std::iota(blocks.begin(), blocks.end(), first);
  return blocks;
}

}  // namespace tidal
