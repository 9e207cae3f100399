// Sampling. A cluster of up to eight blocks takes a row into its shared memory, reading it once;
// everything after that happens there. The logits themselves are not changed.
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

namespace tidal::cuda {
namespace sampling {
namespace {

constexpr float kMinTemperature = 1e-5f;  // below it, greedy; as on the CPU

// How the rows are cut: the same for all of them.
struct Cut {
  int ranks;        // blocks a row
  int32_t segment;  // elements a warp
};

__device__ inline float Infinity() { return __int_as_float(0x7f800000); }

__device__ inline float NotANumber() { return __int_as_float(0x7fc00000); }

// NaN counts as -infinity.
__device__ inline float Clean(float x) { return x == x ? x : -Infinity(); }

// Ids id .. id + 3 of a row; NaN for those the row has not. aligned: rows are to 16 bytes.
__device__ inline float4 LoadQuad(const float* logits, int32_t id, int32_t vocab, bool aligned) {
  if (aligned && id + 4 <= vocab) return *reinterpret_cast<const float4*>(logits + id);
  float x[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) x[j] = id + j < vocab ? logits[id + j] : NotANumber();
  return make_float4(x[0], x[1], x[2], x[3]);
}

// Cleans what the row has of them, and notes it.
__device__ inline float4 CleanQuad(const float4& v, int32_t id, int32_t vocab, bool& had_nan) {
  if (v.x == v.x && v.y == v.y && v.z == v.z && v.w == v.w) return v;
  float x[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (x[j] == x[j] || id + j >= vocab) continue;
    x[j] = -Infinity();
    had_nan = true;
  }
  return make_float4(x[0], x[1], x[2], x[3]);
}

// The largest value a thread has seen, at the lowest id.
struct Running {
  float value = -Infinity();
  int32_t id = INT_MAX;

  __device__ void Take(float x, int32_t at) {
    if (x > value) {
      value = x;
      id = at;
    }
  }
  __device__ void Take(const float4& v, int32_t at) {
    Take(v.x, at);
    Take(v.y, at + 1);
    Take(v.z, at + 2);
    Take(v.w, at + 3);
  }
  // -0 becomes +0, which it equals.
  __device__ Best Result() const { return {KeyOf(value + 0.0f), id}; }
};

// Fills the slice. Returns the block's best.
__device__ inline Best LoadSlice(Slice& s, const float* logits, int32_t vocab, bool aligned) {
  Running best;
  const int32_t first = Warp() * s.segment + 4 * Lane();
  for (int32_t i = 0; i < s.segment; i += 4 * kWarpStep) {
    float4 v[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int32_t at = first + i + j * kWarpStep;
      if (i + j * kWarpStep < s.segment) v[j] = LoadQuad(logits, s.begin + at, vocab, aligned);
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int32_t at = first + i + j * kWarpStep;
      if (i + j * kWarpStep >= s.segment) continue;
      const float4 x = CleanQuad(v[j], s.begin + at, vocab, s.shared.had_nan);
      *reinterpret_cast<float4*>(s.values + at) = x;
      best.Take(x, s.begin + at);
    }
  }
  return BestOfBlock(s, best.Result());
}

// The row's best once its logits have changed.
__device__ inline Best FindBest(Slice& s) {
  Running running;
  ForQuads(
      s, [&](int32_t at, const float4& v) { running.Take(v, s.begin + at); }, [] {});
  const Best block = BestOfBlock(s, running.Result());
  Partial p = {};
  p.count[0] = block.key;
  p.count[1] = block.id;
  const Partial* ranks = Exchange(s, p);
  Best best = {ranks[0].count[0], ranks[0].count[1]};
  for (int r = 1; r < s.ranks; ++r) best = Better(best, {ranks[r].count[0], ranks[r].count[1]});
  return best;
}

// The sum of exp(x - max) over the block; 0 where max is infinite. NaN if the slice had one.
__device__ inline double SumExpOfBlock(Slice& s, float max) {
  Partial sum = {};
  if (isfinite(max)) {
    float run = 0;
    const auto term = [&](float x) { return x == x ? expf(x - max) : 0.0f; };
    ForQuads(
        s,
        [&](int32_t, const float4& v) { run += (term(v.x) + term(v.y)) + (term(v.z) + term(v.w)); },
        [&] {
          sum.mass[0] += static_cast<double>(run);
          run = 0;
        });
  }
  if (s.shared.had_nan) sum.mass[0] = NotANumber();
  return SumBlock<true, false>(s, sum).mass[0];
}

// The row's raw logits in a nutshell.
struct RawRow {
  Best best;
  double sum_exp;  // of exp(x - max); NaN of a row that held a NaN

  // log(sum(exp(x))); NaN of a corrupt row, and so are the differences to it.
  __device__ float LogSum() const {
    const float max = OfKey(best.key);
    return isfinite(max) ? max + logf(static_cast<float>(sum_exp)) : NotANumber();
  }
};

__device__ inline RawRow ReadRow(Slice& s, const float* logits, int32_t vocab, bool aligned) {
  const Best block = LoadSlice(s, logits, vocab, aligned);
  Partial p = {};
  p.mass[0] = SumExpOfBlock(s, OfKey(block.key));
  p.count[0] = block.key;
  p.count[1] = block.id;
  WaitForStart(s.ranks);
  const Partial* ranks = Exchange(s, p);
  RawRow row = {{ranks[0].count[0], ranks[0].count[1]}, 0};
  for (int r = 1; r < s.ranks; ++r) {
    row.best = Better(row.best, {ranks[r].count[0], ranks[r].count[1]});
  }
  const float max = OfKey(row.best.key);
  if (isfinite(max)) {
    for (int r = 0; r < s.ranks; ++r) {
      const float scale = expf(OfKey(ranks[r].count[0]) - max);
      row.sum_exp += ranks[r].mass[0] * static_cast<double>(scale);
    }
  }
  return row;
}

// The best num_logprobs tokens by raw logit, ties to the lower id; the rest says none.
__device__ inline void WriteTopLogprobs(Slice& s, const SampleParams& p, int32_t row,
                                        int32_t num_logprobs, const RawRow& raw) {
  const int32_t wanted = min(min(num_logprobs, p.max_logprobs), p.vocab);
  int32_t* const ids = p.top_ids + int64_t{row} * p.max_logprobs;
  float* const values = p.top_logprobs + int64_t{row} * p.max_logprobs;
  if (s.rank == 0) {
    for (int32_t i = max(wanted, 0) + static_cast<int32_t>(threadIdx.x); i < p.max_logprobs;
         i += kThreads) {
      ids[i] = -1;
      values[i] = -Infinity();
    }
  }
  if (wanted <= 0) return;
  const int32_t above_all = raw.best.key + 1;
  Bracket b = {KeyOf(-Infinity()), above_all, p.vocab, 0, 0};
  Narrow<false>(RowValues{s}, wanted, kListSize, b);
  const int32_t listed =
      MakeList(s, {OfKey(b.lo), b.count_lo <= kListSize ? INT_MAX : wanted - b.count_hi});
  if (s.rank != 0) return;

  const ListPart part = LoadList(s, listed);
  b = {b.lo, above_all, listed, 0, 0};
  Narrow<false>(ListValues{s, part}, wanted, 0, b);
  const unsigned kept = KeptOfList(s, part, {OfKey(b.lo), wanted - b.count_hi});
  // The kept move to the front of the list, still by rising id. Every thread reads its ids before
  // any thread writes.
  int32_t kept_ids[4] = {};
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (kept >> j & 1) kept_ids[j] = s.shared.list[4 * threadIdx.x + j].id;
  }
  Partial own = {};
  own.count[0] = __popc(kept);
  const Partial* warps;
  SumBlock<false, true>(s, own, &warps);
  int32_t place = InclusiveWarpSum(own.count[0], Lane()) - own.count[0];
  for (int w = 0; w < Warp(); ++w) place += warps[w].count[0];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (kept >> j & 1) s.shared.list[place++] = {part.values[j], kept_ids[j]};
  }
  __syncthreads();
  const float log_sum = raw.LogSum();
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < wanted; i += kThreads) {
    const Entry mine = s.shared.list[i];
    int32_t rank = 0;
    for (int32_t j = 0; j < wanted; ++j) {
      const float other = s.shared.list[j].value;
      rank += other > mine.value || (other == mine.value && j < i);
    }
    ids[rank] = mine.id;
    values[rank] = mine.value - log_sum;
  }
  __syncthreads();
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

// Where no logit of an allowed token is a number.
__device__ inline int32_t FirstAllowed(const uint32_t* mask, int32_t vocab) {
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

// Block rank of row r is block r * ranks + rank, so that a cluster is a row. scratch: null if the
// values go to shared memory, else [rows, kWarps * segment], and ranks is 1.
template <bool kScratch>
__global__ void __launch_bounds__(kThreads, kScratch ? 1 : 2)
    SampleKernel(LaunchMark mark, const SampleParams p, const Cut cut, float* scratch) {
  extern __shared__ float4 dynamic[];
  __shared__ SharedState shared;
  ArriveAtStart(cut.ranks);
  if (threadIdx.x == 0) shared.had_nan = false;
  __syncthreads();
  const int32_t index = static_cast<int32_t>(blockIdx.x) / cut.ranks;
  const int rank = static_cast<int>(blockIdx.x) % cut.ranks;
  const int32_t slice_size = kWarps * cut.segment;
  float* const slice_values =
      kScratch ? scratch + int64_t{index} * slice_size : reinterpret_cast<float*>(dynamic);
  Slice s = {shared, slice_values, rank * slice_size, cut.segment, rank, cut.ranks};
  const float* const logits = p.logits + int64_t{index} * p.vocab;
  const bool aligned = p.vocab % 4 == 0 && (reinterpret_cast<uintptr_t>(p.logits) & 15u) == 0;

  WaitForPreviousKernel(mark);
  const SampledRow row(p, index);
  // Early: these also bring the rest of the row's settings close.
  const int32_t num_logprobs = row.settings.num_logprobs;
  const float temperature = row.settings.temperature;
  const RawRow raw = ReadRow(s, logits, p.vocab, aligned);
  LetNextKernelStart();
  WriteTopLogprobs(s, p, index, num_logprobs, raw);
  const uint32_t* const mask = p.masks.Of(index, p.vocab);
  const bool adjusted = Adjust(s, row, mask, p.vocab);
  const Best best = adjusted ? FindBest(s) : raw.best;

  int32_t token = kNoToken;
  float logit = OfKey(best.key);
  const bool drawn = temperature >= kMinTemperature && isfinite(logit);
  if (drawn) {
    token = DrawToken(s, row.settings, row.generated, logit);
  } else if (rank == 0 && threadIdx.x == 0) {
    token = best.id;
    if (token == INT_MAX) token = mask == nullptr ? 0 : FirstAllowed(mask, p.vocab);
  }
  if (token == kNoToken) return;
  if (drawn || adjusted) logit = Clean(logits[token]);
  p.token_ids[index] = token;
  p.logprobs[index] = logit - raw.LogSum();
  // No block reads counts any more: they have exchanged what they found since.
  if (!p.drafts.IsOneOfSeveral(index)) p.slots.TakeOver(row.slot, token, p.vocab);
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
    const cudaError_t status = cudaFuncSetAttribute(
        SampleKernel<false>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    return context.Check(status, "Sample");
  }
  bytes_ = SliceBytes(CutFor(limits.vocab_size, false)) * std::max(limits.max_sampled_rows, 1);
  const cudaError_t status = cudaMalloc(&data_, bytes_);
  if (status == cudaSuccess) return true;
  data_ = nullptr;
  if (status != cudaErrorMemoryAllocation) return context.Check(status, "Sample");
  cudaGetLastError();  // forgets it: running out of memory is an answer, not a failure
  return false;
}

void Sample(const SampleParams& p, SamplingWorkspace& workspace, DeviceContext& context) {
  using namespace sampling;
  if (p.vocab < 1 || std::min(p.max_logprobs, p.vocab) > kListSize) {
    std::fprintf(stderr, "Sample: vocab %d, max_logprobs %d: at most %d alternatives\n", p.vocab,
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
      std::fprintf(stderr, "Sample: %d rows of %d are more than was reserved\n", p.num_rows,
                   p.vocab);
      std::abort();
    }
    Launch(context, "Sample", SampleKernel<true>, shape, p, cut,
           static_cast<float*>(workspace.data()));
    return;
  }
  shape.cluster_size = static_cast<unsigned>(cut.ranks);
  shape.shared_bytes = SliceBytes(cut);
  Launch(context, "Sample", SampleKernel<false>, shape, p, cut, nullptr);
}

}  // namespace tidal::cuda
