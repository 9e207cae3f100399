// Sampling, and log probabilities of given tokens. A cluster of up to eight blocks takes a row into
// its shared memory, reading it once; everything after that happens there. The logits themselves
// are not changed.
//
// Where there are no clusters (before sm_90), or a row does not fit, one block works on a row and
// keeps its values in global memory.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sampling.h"
#include "kernels/cuda/sampling_draw.cuh"
#include "kernels/cuda/sampling_row.cuh"

namespace tidal::cuda {
namespace sampling {
namespace {

constexpr float kMinTemperature = 1e-5f;  // below it, greedy; as on the CPU

// How the rows are cut: the same for all of them.
struct Cut {
  int ranks;        // blocks a row
  int32_t segment;  // elements a warp
};

// The row of this block: block rank of row r is block r * ranks + rank, so that a cluster is a row.
__device__ inline int32_t RowIndex(const Cut& cut) {
  return static_cast<int32_t>(blockIdx.x) / cut.ranks;
}

// This block's slice of its row, in `dynamic` shared memory, or with kScratch in `scratch`, [rows,
// kWarps * segment], where ranks is 1. All threads of the block call it first of all.
template <bool kScratch>
__device__ inline Slice SliceOfBlock(SharedState& shared, float4* dynamic, const Cut& cut,
                                     float* scratch) {
  ArriveAtStart(cut.ranks);
  if (threadIdx.x == 0) shared.had_nan = false;
  __syncthreads();
  const int rank = static_cast<int>(blockIdx.x) % cut.ranks;
  const int32_t size = kWarps * cut.segment;
  float* const values =
      kScratch ? scratch + int64_t{RowIndex(cut)} * size : reinterpret_cast<float*>(dynamic);
  return {shared, values, rank * size, cut.segment, rank, cut.ranks};
}

// Can rows of logits be read by sixteen bytes?
template <typename Params>
__device__ inline bool RowsAreAligned(const Params& p) {
  return p.vocab % 4 == 0 && (reinterpret_cast<uintptr_t>(p.logits) & 15u) == 0;
}

// A row's part of its slot.
struct SampledRow {
  const SamplingSettings& settings;
  const TokenBias* biases;
  const TokenCount* counts;  // [vocab]
  int32_t slot, generated;
  const int32_t* draft;  // [draft_size], tokens before this one that are not counted
  int32_t draft_size;

  __device__ SampledRow(const SampleParams& p, int32_t row)
      : SampledRow(p, row, p.sequence_slots[row]) {}

 private:
  __device__ SampledRow(const SampleParams& p, int32_t row, int32_t slot)
      : settings(p.slots.settings[slot]),
        biases(p.slots.biases + int64_t{slot} * p.slots.max_biases),
        counts(p.slots.counts + int64_t{slot} * p.vocab),
        slot(slot),
        generated(p.generated[row]),
        draft(p.drafts.Before(row)),
        draft_size(p.drafts.NumBefore(row)) {}
};

// Adds the first `count` biases of the row to the slice.
__device__ inline void AddBiases(Slice& s, const TokenBias* biases, int32_t count, int32_t vocab) {
  const uint32_t size = static_cast<uint32_t>(max(min(vocab - s.begin, kWarps * s.segment), 0));
  // A token may have several biases: the thread of the first one adds all of them, in order.
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < count; i += kThreads) {
    const int32_t token = biases[i].token;
    const uint32_t at = static_cast<uint32_t>(token - s.begin);
    if (at >= size) continue;
    bool is_first = true;
    for (int32_t j = 0; j < i && is_first; ++j) is_first = biases[j].token != token;
    if (!is_first) continue;
    float x = s.values[at];
    for (int32_t j = i; j < count; ++j) {
      const TokenBias bias = biases[j];
      if (bias.token == token) x += bias.bias;
    }
    s.values[at] = Clean(x);
  }
  __syncthreads();
}

// Of tokens id .. id + 3; none where the row has ended. aligned: counts of rows are to 8 bytes.
__device__ inline ushort4 LoadCounts(const SampledRow& row, int32_t id, int32_t vocab,
                                     bool aligned) {
  ushort4 counts;
  if (aligned && id + 4 <= vocab) {
    counts = *reinterpret_cast<const ushort4*>(row.counts + id);
  } else {
    const auto load = [&](int32_t at) { return at < vocab ? row.counts[at].bits : uint16_t{0}; };
    counts = {load(id), load(id + 1), load(id + 2), load(id + 3)};
  }
  for (int32_t i = 0; i < row.draft_size; ++i) {
    const int32_t at = row.draft[i] - id;
    const auto add = [&](unsigned short& bits, int32_t place) {
      if (at == place) bits = TokenCount{bits}.AfterOutput().bits;
    };
    add(counts.x, 0);
    add(counts.y, 1);
    add(counts.z, 2);
    add(counts.w, 3);
  }
  return counts;
}

__device__ inline void SubtractPenalties(Slice& s, const SampledRow& row, int32_t vocab) {
  const SamplingSettings& settings = row.settings;
  const bool aligned = vocab % 4 == 0;
  const auto penalise = [&](float x, uint16_t bits) {
    const TokenCount count = {bits};
    if (!count.occurred() || isinf(x)) return x;
    x = x > 0 ? x / settings.repetition_penalty : x * settings.repetition_penalty;
    x -= settings.frequency_penalty * static_cast<float>(count.outputs());
    if (count.outputs() > 0) x -= settings.presence_penalty;
    return Clean(x);
  };
  ForQuads(
      s,
      [&](int32_t at, const float4& v) {
        const ushort4 count = LoadCounts(row, s.begin + at, vocab, aligned);
        if ((count.x | count.y | count.z | count.w) == 0) return;
        *reinterpret_cast<float4*>(s.values + at) =
            make_float4(penalise(v.x, count.x), penalise(v.y, count.y), penalise(v.z, count.z),
                        penalise(v.w, count.w));
      },
      [] {});
  __syncthreads();
}

// Leaves only the tokens that the mask allows.
__device__ inline void ApplyMask(Slice& s, const uint32_t* mask, int32_t vocab) {
  ForQuads(
      s,
      [&](int32_t at, const float4& v) {
        const int32_t id = s.begin + at;
        if (id >= vocab) return;
        // Quads lie at multiples of 4, so in one word. What is past the end stays NaN.
        const unsigned past_end = id + 4 > vocab ? 15u << (vocab - id) : 0u;
        const unsigned allowed = ((mask[id / 32] >> (id % 32)) | past_end) & 15u;
        if (allowed == 15u) return;
        const auto keep = [&](float x, int bit) { return allowed >> bit & 1u ? x : -Infinity(); };
        *reinterpret_cast<float4*>(s.values + at) =
            make_float4(keep(v.x, 0), keep(v.y, 1), keep(v.z, 2), keep(v.w, 3));
      },
      [] {});
  __syncthreads();
}

// Where no logit of an allowed token is a number. mask: null where all are allowed.
__device__ inline int32_t FirstAllowed(const uint32_t* mask, int32_t vocab) {
  if (mask == nullptr) return 0;
  for (int32_t word = 0; word < TokenMasks::NumWords(vocab); ++word) {
    if (mask[word] != 0) return min(32 * word + __ffs(static_cast<int>(mask[word])) - 1, vocab - 1);
  }
  return 0;
}

// Adds biases and penalties to the slice and applies the mask, which may be null. Says whether the
// row has any.
__device__ inline bool Adjust(Slice& s, const SampledRow& row, const uint32_t* mask,
                              int32_t vocab) {
  const int32_t num_biases = row.settings.BiasesAfter(row.generated);
  const bool penalised = row.settings.has_penalties();
  if (num_biases == 0 && !penalised && mask == nullptr) return false;
  __syncthreads();
  if (num_biases > 0) AddBiases(s, row.biases, num_biases, vocab);
  if (penalised) SubtractPenalties(s, row, vocab);
  if (mask != nullptr) ApplyMask(s, mask, vocab);
  return true;
}

// scratch: null if the values go to shared memory.
template <bool kScratch>
__global__ void __launch_bounds__(kThreads, kScratch ? 1 : 2)
    SampleKernel(LaunchMark mark, const SampleParams p, const Cut cut, float* scratch) {
  extern __shared__ float4 dynamic[];
  __shared__ SharedState shared;
  Slice s = SliceOfBlock<kScratch>(shared, dynamic, cut, scratch);
  const int32_t index = RowIndex(cut);
  const float* const logits = p.logits + int64_t{index} * p.vocab;

  WaitForPreviousKernel(mark);
  const SampledRow row(p, index);
  // Early: these also bring the rest of the row's settings close.
  const int32_t num_logprobs = row.settings.num_logprobs;
  const float temperature = row.settings.temperature;
  const RawRow raw = ReadRow(s, logits, p.vocab, RowsAreAligned(p));
  LetNextKernelStart();
  int32_t listed = row.settings.num_logprob_ids;
  if (listed > 0) {
    ListGiven(s, logits, p.slots.LogprobIdsOf(row.slot), listed);
  } else {
    listed = min(min(num_logprobs, p.max_logprobs), p.vocab);
    ListBest(s, p.vocab, listed, raw);
  }
  WriteListed(s, p, index, listed, raw);
  const bool adjusted = Adjust(s, row, p.masks.Of(index, p.vocab), p.vocab);
  const Best best = adjusted ? FindBest(s) : raw.best;

  int32_t token = kNoToken;
  float logit = OfKey(best.key);
  const bool drawn = temperature >= kMinTemperature && isfinite(logit);
  if (drawn) {
    token = DrawToken(s, row.settings, row.generated, logit);
  } else if (s.rank == 0 && threadIdx.x == 0) {
    token = best.id == INT_MAX ? FirstAllowed(p.masks.Of(index, p.vocab), p.vocab) : best.id;
  }
  if (token == kNoToken) return;
  if (drawn || adjusted) logit = Clean(logits[token]);
  p.token_ids[index] = token;
  p.logprobs[index] = logit - raw.LogSum();
  // No block reads counts any more: they have exchanged what they found since.
  if (!p.drafts.IsOneOfSeveral(index)) p.slots.TakeOver(row.slot, token, p.vocab);
}

// How many tokens come before this one, best first, ties to the lower id.
__device__ inline int32_t NumBefore(Slice& s, int32_t token, float logit) {
  Partial before = {};
  const auto take = [&](float x, int32_t id) {
    before.count[0] += x > logit || (x == logit && id < token);
  };
  ForQuads(
      s,
      [&](int32_t at, const float4& v) {
        const int32_t id = s.begin + at;
        take(v.x, id);
        take(v.y, id + 1);
        take(v.z, id + 2);
        take(v.w, id + 3);
      },
      [] {});
  return SumCluster<false, true>(s, before).count[0];
}

template <bool kScratch>
__global__ void __launch_bounds__(kThreads, kScratch ? 1 : 2)
    TokenLogprobsKernel(LaunchMark mark, const TokenLogprobsParams p, const Cut cut,
                        float* scratch) {
  extern __shared__ float4 dynamic[];
  __shared__ SharedState shared;
  Slice s = SliceOfBlock<kScratch>(shared, dynamic, cut, scratch);
  const int32_t index = RowIndex(cut);
  const float* const logits = p.logits + int64_t{index} * p.vocab;

  WaitForPreviousKernel(mark);
  const int32_t token = p.token_ids[index];
  const float logit = Clean(logits[token]);
  const RawRow raw = ReadRow(s, logits, p.vocab, RowsAreAligned(p));
  LetNextKernelStart();
  const int32_t before = NumBefore(s, token, logit);
  const int32_t listed = min(p.max_logprobs, p.vocab);
  ListBest(s, p.vocab, listed, raw);
  WriteListed(s, p, index, listed, raw);
  if (s.rank != 0 || threadIdx.x != 0) return;
  p.ranks[index] = before + 1;
  p.logprobs[index] = logit - raw.LogSum();
}

constexpr int32_t kSliceElements = 16384;  // that one block of several should hold

// As few blocks a row as hold kSliceElements each, up to kMaxRanks.
Cut CutFor(int32_t vocab, bool clusters) {
  Cut cut = {1, 0};
  while (clusters && cut.ranks < kMaxRanks && cut.ranks * kSliceElements < vocab) cut.ranks *= 2;
  constexpr int32_t kUnit = kWarps * kWarpStep;
  cut.segment = (vocab + cut.ranks * kUnit - 1) / (cut.ranks * kUnit) * kWarpStep;
  return cut;
}

size_t SliceBytes(const Cut& cut) { return sizeof(float) * kWarps * cut.segment; }

// Whether a slice fits into shared memory, beside what the kernel uses anyway.
bool FitsShared(const Cut& cut, const DeviceContext& context) {
  return context.compute_capability >= 90 &&
         SliceBytes(cut) + sizeof(SharedState) + 1024 <= context.max_shared_memory;
}

}  // namespace
}  // namespace sampling

SamplingWorkspace::~SamplingWorkspace() { cudaFree(data_); }

bool SamplingWorkspace::Reserve(const BackendLimits& limits, DeviceContext& context) {
  using namespace sampling;
  const Cut cut = CutFor(limits.vocab_size, context.compute_capability >= 90);
  if (FitsShared(cut, context)) {
    // A smaller vocabulary may need more than this one: up to kSliceElements.
    const size_t bytes = std::max(SliceBytes(cut), sizeof(float) * kSliceElements);
    const auto allow = [&](const void* kernel) {
      return context.Check(
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(bytes)),
          "Sample");
    };
    return allow(reinterpret_cast<const void*>(&SampleKernel<false>)) &&
           allow(reinterpret_cast<const void*>(&TokenLogprobsKernel<false>));
  }
  bytes_ = SliceBytes(CutFor(limits.vocab_size, false)) * std::max(limits.max_sampled_rows, 1);
  const cudaError_t status = cudaMalloc(&data_, bytes_);
  if (status == cudaSuccess) return true;
  data_ = nullptr;
  if (status != cudaErrorMemoryAllocation) return context.Check(status, "Sample");
  cudaGetLastError();  // forgets it: running out of memory is an answer, not a failure
  return false;
}

namespace sampling {
namespace {

template <typename Params>
using RowKernel = void (*)(LaunchMark, Params, Cut, float*);

// Over the rows of `p`, whose values go to shared memory or to the workspace.
template <typename Params>
void LaunchOverRows(const char* name, RowKernel<Params> in_shared, RowKernel<Params> in_scratch,
                    const Params& p, SamplingWorkspace& workspace, DeviceContext& context) {
  if (p.vocab < 1 || std::min(p.max_logprobs, p.vocab) > kListSize) {
    std::fprintf(stderr, "%s: vocab %d, max_logprobs %d: at most %d alternatives\n", name, p.vocab,
                 p.max_logprobs, kListSize);
    std::abort();
  }
  const bool scratch = workspace.data() != nullptr;
  const Cut cut = CutFor(p.vocab, !scratch);
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(std::max(p.num_rows, 0) * cut.ranks));
  shape.block = dim3(kThreads);
  if (scratch) {
    if (SliceBytes(cut) * p.num_rows > workspace.bytes()) {
      std::fprintf(stderr, "%s: %d rows of %d are more than was reserved\n", name, p.num_rows,
                   p.vocab);
      std::abort();
    }
    Launch(context, name, in_scratch, shape, p, cut, static_cast<float*>(workspace.data()));
    return;
  }
  shape.cluster_size = static_cast<unsigned>(cut.ranks);
  shape.shared_bytes = SliceBytes(cut);
  Launch(context, name, in_shared, shape, p, cut, nullptr);
}

}  // namespace
}  // namespace sampling

void Sample(const SampleParams& p, SamplingWorkspace& workspace, DeviceContext& context) {
  using namespace sampling;
  LaunchOverRows<SampleParams>("Sample", SampleKernel<false>, SampleKernel<true>, p, workspace,
                               context);
}

void TokenLogprobs(const TokenLogprobsParams& p, SamplingWorkspace& workspace,
                   DeviceContext& context) {
  using namespace sampling;
  LaunchOverRows<TokenLogprobsParams>("TokenLogprobs", TokenLogprobsKernel<false>,
                                      TokenLogprobsKernel<true>, p, workspace, context);
}

}  // namespace tidal::cuda
