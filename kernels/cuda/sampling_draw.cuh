// Truncation by min-p, top-k and top-p, and the draw. Works on weights: probabilities over that of
// the likeliest token. The draw walks the kept tokens by rising id, as the CPU back end does, so
// that both choose the same token but for rounding.
#ifndef TIDAL_KERNELS_CUDA_SAMPLING_DRAW_CUH_
#define TIDAL_KERNELS_CUDA_SAMPLING_DRAW_CUH_

#include "kernels/cuda/sampling_select.cuh"
#include "kernels/sampling_params.h"

namespace tidal::cuda::sampling {

constexpr int32_t kNoToken = -1;

// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection that mixes all bits.
__device__ inline uint64_t Mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Uniform in [0, 1); the same function as the CPU back end's.
__device__ inline double UniformDraw(uint64_t seed, uint64_t generated) {
  constexpr uint64_t kGoldenGamma = 0x9e3779b97f4a7c15u;
  const uint64_t bits = Mix(Mix(seed + kGoldenGamma) + (generated + 1) * kGoldenGamma);
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

// Draws from rank 0's list: the first candidate whose running sum exceeds uniform * total, else the
// last kept one. One thread gets the token, all others kNoToken.
__device__ inline int32_t DrawFromList(Slice& s, const ListPart& part, Threshold t,
                                       double uniform) {
  const unsigned kept = KeptOfList(s, part, t);
  double own = 0;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (kept >> j & 1) own += static_cast<double>(part.values[j]);
  }
  const double through_lane = InclusiveWarpSum(own, Lane());
  Partial p = {};
  p.mass[0] = own;
  const Partial* warps;
  SumBlock<true, false>(s, p, &warps);
  double before_warp = 0, total = 0;
  for (int w = 0; w < kWarps; ++w) {
    if (w == Warp()) before_warp = total;
    total += warps[w].mass[0];
  }
  const double target = uniform * total;
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  const bool reaches = kept != 0 && before_warp + through_lane > target;
  const int2 first_last = MinBlock(s, reaches ? thread : INT_MAX, kept != 0 ? -thread : INT_MAX);
  const int32_t chosen = first_last.x != INT_MAX ? first_last.x : -first_last.y;
  int32_t token = kNoToken;
  if (thread != chosen) return token;
  double sum = before_warp + through_lane - own;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if ((kept >> j & 1) == 0 || (token != kNoToken && sum > target)) continue;
    sum += static_cast<double>(part.values[j]);
    token = s.shared.list[4 * thread + j].id;
  }
  return token;
}

// As DrawFromList. One warp of the cluster, the one whose segment holds the target, reads its
// values again.
__device__ inline int32_t DrawFromRow(Slice& s, Threshold t, double uniform) {
  const Survey survey = SurveyRow<true>(s, t.value);
  const auto kept_mass = [&](const Partial& p, int32_t& ties_left) {
    const int32_t ties = min(ties_left, p.count[1]);
    ties_left -= ties;
    return p.mass[0] + static_cast<double>(ties) * static_cast<double>(t.value);
  };
  double total = 0;
  int32_t ties_left = t.ties;
  for (int r = 0; r < s.ranks; ++r) total += kept_mass(survey.ranks[r], ties_left);
  const double target = uniform * total;

  // The first part of `count` parts that reaches the target, else the last with a mass; -1: none.
  // sum and left: before all parts, then before that part.
  const auto find = [&](const Partial* parts, int count, double& sum, int32_t& left) {
    int found = -1;
    double found_sum = sum, running = sum;
    int32_t found_left = left, running_left = left;
    for (int i = 0; i < count; ++i) {
      const double before = running;
      const int32_t left_before = running_left;
      const double mass = kept_mass(parts[i], running_left);
      running += mass;
      if (mass > 0) {
        found = i;
        found_sum = before;
        found_left = left_before;
        if (running > target) break;
      }
    }
    sum = found_sum;
    left = found_left;
    return found;
  };
  double sum = 0;
  ties_left = t.ties;
  if (find(survey.ranks, s.ranks, sum, ties_left) != s.rank) return kNoToken;
  if (find(survey.warps, kWarps, sum, ties_left) != Warp()) return kNoToken;

  int32_t last = kNoToken;  // kept
  const int32_t first = Warp() * s.segment + 4 * Lane();
  for (int32_t i = first; i < first + s.segment; i += kWarpStep) {
    const float4 v = *reinterpret_cast<const float4*>(s.values + i);
    const float x[4] = {v.x, v.y, v.z, v.w};
    const unsigned kept = KeptByWarp(x, t, ties_left);
    const unsigned lanes = __ballot_sync(kAllLanes, kept != 0);
    if (lanes == 0) continue;
    double own = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (kept >> j & 1) own += static_cast<double>(x[j]);
    }
    const double through = InclusiveWarpSum(own, Lane());
    const unsigned reaching = __ballot_sync(kAllLanes, kept != 0 && sum + through > target);
    const int chosen = reaching != 0 ? __ffs(static_cast<int>(reaching)) - 1 : 31 - __clz(lanes);
    // The chosen lane's token: the first to reach the target, else its last.
    int32_t token = kNoToken;
    double running = sum + through - own;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if ((kept >> j & 1) == 0 || (token != kNoToken && running > target)) continue;
      running += static_cast<double>(x[j]);
      token = s.begin + i + j;
    }
    last = __shfl_sync(kAllLanes, token, chosen);
    if (reaching != 0) break;
    sum += __shfl_sync(kAllLanes, through, 31);
  }
  return Lane() == 0 ? last : kNoToken;
}

// Settles top-p: the kept are those of `t`, largest first, until their sum reaches `target`. b: as
// Narrow() left it, with hi next to lo.
__device__ inline Threshold CutBySum(const Bracket& b, Threshold t, double target) {
  const float value = OfKey(b.lo);
  const int32_t ties = value == t.value ? t.ties : b.count_lo - b.count_hi;
  const double needed = ceil((target - b.mass_hi) / static_cast<double>(value));
  return {value, static_cast<int32_t>(fmin(fmax(needed, 1.0), static_cast<double>(ties)))};
}

// Turns the slice's logits into weights and draws. max: the row's largest logit, finite. One thread
// of the cluster gets the token, all others kNoToken.
__device__ inline int32_t DrawToken(Slice& s, const SamplingSettings& settings, int32_t generated,
                                    float max) {
  // A weight of zero is never kept, the largest one, which is 1, always.
  const float lowest = fminf(fmaxf(settings.min_p, __int_as_float(1)), 1.0f);
  const float scale = 1.0f / settings.temperature;
  Partial sum = {};
  float run = 0;
  const auto weigh = [&](float x) {
    const float w = expf((x - max) * scale);
    if (w >= lowest) {
      ++sum.count[0];
      run += w;
    }
    return w;
  };
  ForQuads(
      s,
      [&](int32_t at, const float4& v) {
        const float4 w = make_float4(weigh(v.x), weigh(v.y), weigh(v.z), weigh(v.w));
        *reinterpret_cast<float4*>(s.values + at) = w;
      },
      [&] {
        sum.mass[0] += static_cast<double>(run);
        run = 0;
      });
  const int32_t top_k = settings.top_k;
  const float top_p = settings.top_p;
  Threshold kept = {lowest, INT_MAX};
  if (top_k <= 0 && !(top_p < 1)) {
    return DrawFromRow(s, kept, UniformDraw(settings.seed, generated));
  }

  sum = SumCluster<true, true>(s, sum);
  int32_t count = sum.count[0];  // of the kept
  double mass = sum.mass[0];     // before top-p
  bool cut_count = top_k > 0 && top_k < count, cut_sum = top_p < 1;
  const int32_t above_all = KeyOf(1.0f) + 1;
  const RowValues values{s};

  if (cut_count && count > kListSize) {
    Bracket b = {KeyOf(lowest), above_all, count, 0, 0};
    Narrow<false>(values, top_k, kListSize, b);
    if (b.count_lo <= kListSize) {
      kept = {OfKey(b.lo), INT_MAX};
      count = b.count_lo;
    } else {
      kept = {OfKey(b.lo), top_k - b.count_hi};
      count = top_k;
      cut_count = false;
      const float above = OfKey(b.hi);
      const Partial p = values.Reaching<true>({above, above, above});
      mass = p.mass[0] + static_cast<double>(kept.ties) * static_cast<double>(kept.value);
    }
  }
  if (cut_sum && count > kListSize) {  // then cut_count is settled
    Bracket b = {KeyOf(kept.value), above_all, count, 0, 0};
    Narrow<true>(values, top_p * mass, kListSize, b);
    if (b.count_lo > kListSize) {
      kept = CutBySum(b, kept, top_p * mass);
      cut_sum = false;
    } else {
      kept = {OfKey(b.lo), INT_MAX};
    }
    count = b.count_lo;
  }
  if (count > kListSize) return DrawFromRow(s, kept, UniformDraw(settings.seed, generated));

  const int32_t listed = MakeList(s, kept);
  if (s.rank != 0) return kNoToken;
  const ListPart part = LoadList(s, listed);
  const ListValues list{s, part};
  kept = {kept.value, INT_MAX};  // the list holds only those ties that are kept
  if (cut_count) {
    Bracket b = {KeyOf(kept.value), above_all, listed, 0, 0};
    Narrow<false>(list, top_k, 0, b);
    kept = {OfKey(b.lo), top_k - b.count_hi};
    const float above = OfKey(b.hi);
    const Partial p = list.Reaching<true>({above, above, above});
    mass = p.mass[0] + static_cast<double>(kept.ties) * static_cast<double>(kept.value);
  }
  if (cut_sum) {
    Bracket b = {KeyOf(kept.value), above_all, listed, 0, 0};
    Narrow<true>(list, top_p * mass, 0, b);
    kept = CutBySum(b, kept, top_p * mass);
  }
  return DrawFromList(s, part, kept, UniformDraw(settings.seed, generated));
}

}  // namespace tidal::cuda::sampling

#endif  // TIDAL_KERNELS_CUDA_SAMPLING_DRAW_CUH_
