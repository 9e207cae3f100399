// A row of raw logits in the shared memory of its cluster: reading it, its largest value, the sum
// that makes log probabilities of it, its best tokens.
#ifndef TIDAL_KERNELS_CUDA_SAMPLING_ROW_CUH_
#define TIDAL_KERNELS_CUDA_SAMPLING_ROW_CUH_

#include <climits>
#include <cstdint>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sampling_cluster.cuh"
#include "kernels/cuda/sampling_select.cuh"

namespace tidal::cuda::sampling {

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

// The given tokens, [count] rising ids, into rank 0's list.
__device__ inline void ListGiven(Slice& s, const float* logits, const int32_t* tokens,
                                 int32_t count) {
  if (s.rank != 0) return;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < count; i += kThreads) {
    s.shared.list[i] = {Clean(logits[tokens[i]]), tokens[i]};
  }
}

// The best `wanted` tokens by raw logit, ties to the lower id, into rank 0's list by rising id.
__device__ inline void ListBest(Slice& s, int32_t vocab, int32_t wanted, const RawRow& raw) {
  if (wanted <= 0) return;
  const int32_t above_all = raw.best.key + 1;
  Bracket b = {KeyOf(-Infinity()), above_all, vocab, 0, 0};
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
}

// Makes what is in rank 0's list the row's alternatives, best first, ties to the lower id; the rest
// of them, up to max_logprobs, says none. Params have top_ids, top_logprobs and max_logprobs.
template <typename Params>
__device__ inline void WriteListed(Slice& s, const Params& p, int32_t row, int32_t listed,
                                   const RawRow& raw) {
  if (s.rank != 0 || p.max_logprobs <= 0) return;
  __syncthreads();
  int32_t* const ids = p.top_ids + int64_t{row} * p.max_logprobs;
  float* const values = p.top_logprobs + int64_t{row} * p.max_logprobs;
  const float log_sum = raw.LogSum();
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < p.max_logprobs; i += kThreads) {
    if (i >= listed) {
      ids[i] = -1;
      values[i] = -Infinity();
      continue;
    }
    const Entry mine = s.shared.list[i];
    int32_t place = 0;
    for (int32_t j = 0; j < listed; ++j) {
      const float other = s.shared.list[j].value;
      place += other > mine.value || (other == mine.value && j < i);
    }
    ids[place] = mine.id;
    values[place] = mine.value - log_sum;
  }
  __syncthreads();
}

}  // namespace tidal::cuda::sampling

#endif  // TIDAL_KERNELS_CUDA_SAMPLING_ROW_CUH_
