// The k largest values, or the largest values of a given sum, of a row: no sort, but a search for
// the smallest value that belongs to them. Four parts of the search interval are told apart by one
// pass over the values, until few enough are left for one block to finish with.
#ifndef TIDAL_KERNELS_CUDA_SAMPLING_SELECT_CUH_
#define TIDAL_KERNELS_CUDA_SAMPLING_SELECT_CUH_

#include "kernels/cuda/sampling_cluster.cuh"

namespace tidal::cuda::sampling {

// What is kept: the values above `value`, and of those equal to it the `ties` of lowest id.
struct Threshold {
  float value;
  int32_t ties;
};

// The values of the list that a thread of rank 0 holds: entries 4 i .. 4 i + 3 for thread i.
struct ListPart {
  float values[4];  // NaN where the list has ended
};

// Counts and sums of the values that reach each of three bounds. The sums are as exact as the
// values themselves, which are rounded to float, and never smaller for a smaller bound. Of the
// row...
struct RowValues {
  Slice& s;
  template <bool kMass>
  __device__ Partial Reaching(const float (&bounds)[3]) const {
    Partial sum = {};
    float run[3] = {};  // of up to 16 values: float loses nothing that matters
    const auto take = [&](float x) {
#pragma unroll
      for (int j = 0; j < 3; ++j) {
        if (x >= bounds[j]) {
          ++sum.count[j];
          if constexpr (kMass) run[j] += x;
        }
      }
    };
    ForQuads(
        s,
        [&](int32_t, const float4& v) {
          take(v.x);
          take(v.y);
          take(v.z);
          take(v.w);
        },
        [&] {
          if constexpr (kMass) {
#pragma unroll
            for (int j = 0; j < 3; ++j) {
              sum.mass[j] += static_cast<double>(run[j]);
              run[j] = 0;
            }
          }
        });
    return SumCluster<kMass, true, float>(s, sum);
  }
};

// ...and of the list; rank 0 only.
struct ListValues {
  Slice& s;
  const ListPart& part;
  template <bool kMass>
  __device__ Partial Reaching(const float (&bounds)[3]) const {
    Partial sum = {};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 3; ++j) {
        if (part.values[i] >= bounds[j]) {
          ++sum.count[j];
          if constexpr (kMass) sum.mass[j] += static_cast<double>(part.values[i]);
        }
      }
    }
    return SumBlock<kMass, true, float>(s, sum);
  }
};

// A search for the largest value x such that the values >= x are enough. Those >= lo are, those
// >= hi are not: keys as KeyOf() makes them.
struct Bracket {
  int32_t lo, hi;
  int32_t count_lo, count_hi;  // of values that reach lo and hi
  double mass_hi;              // their sum; only of a search by sum
};

// Narrows until hi is lo's successor or at most `few` values reach lo. Enough are `target` values,
// or values of the sum `target` if kMass.
template <bool kMass, typename Values>
__device__ inline void Narrow(const Values& values, double target, int32_t few, Bracket& b) {
  while (b.count_lo > few) {
    const uint32_t span = static_cast<uint32_t>(b.hi) - static_cast<uint32_t>(b.lo);
    if (span <= 1) return;
    int32_t keys[3];
    float bounds[3];
#pragma unroll
    for (int j = 0; j < 3; ++j) {
      const uint64_t step = (uint64_t{span} * (j + 1)) >> 2;
      keys[j] = static_cast<int32_t>(static_cast<uint32_t>(b.lo) + static_cast<uint32_t>(step));
      bounds[j] = OfKey(keys[j]);
    }
    const Partial p = values.template Reaching<kMass>(bounds);
    bool open = true;  // until the first key with too few
#pragma unroll
    for (int j = 0; j < 3; ++j) {
      if (!open || keys[j] <= b.lo) continue;
      if ((kMass ? p.mass[j] : static_cast<double>(p.count[j])) >= target) {
        b.lo = keys[j];
        b.count_lo = p.count[j];
      } else {
        b.hi = keys[j];
        b.count_hi = p.count[j];
        if constexpr (kMass) b.mass_hi = p.mass[j];
        open = false;
      }
    }
  }
}

// A mask of the kept ones of a lane's four values. ties_left: how many ties may still be kept by
// this warp, the same in every lane; goes down.
__device__ inline unsigned KeptByWarp(const float (&x)[4], Threshold t, int32_t& ties_left) {
  unsigned kept = 0;
  int32_t ties = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (x[i] > t.value) kept |= 1u << i;
    if (x[i] == t.value) ++ties;
  }
  if (__ballot_sync(kAllLanes, ties > 0) == 0) return kept;
  const int32_t through = InclusiveWarpSum(ties, Lane());
  int32_t before = through - ties;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (x[i] == t.value && before++ < ties_left) kept |= 1u << i;
  }
  ties_left = max(ties_left - __shfl_sync(kAllLanes, through, 31), 0);
  return kept;
}

// What lies above the threshold and on it: mass[0] and count[0] above, count[1] ties.
struct Survey {
  const Partial* warps;  // of this block
  const Partial* ranks;
};

template <bool kMass>
__device__ inline Survey SurveyRow(Slice& s, float threshold) {
  Partial sum = {};
  float run = 0;
  const auto take = [&](float x) {
    if (x > threshold) {
      ++sum.count[0];
      if constexpr (kMass) run += x;
    }
    if (x == threshold) ++sum.count[1];
  };
  ForQuads(
      s,
      [&](int32_t, const float4& v) {
        take(v.x);
        take(v.y);
        take(v.z);
        take(v.w);
      },
      [&] {
        if constexpr (kMass) {
          sum.mass[0] += static_cast<double>(run);
          run = 0;
        }
      });
  Survey survey;
  const Partial block = SumBlock<kMass, true>(s, sum, &survey.warps);
  survey.ranks = Exchange(s, block);
  return survey;
}

// Writes the kept values, at most kListSize, into rank 0's list. Returns their number.
__device__ inline int32_t MakeList(Slice& s, Threshold t) {
  const Survey survey = SurveyRow<false>(s, t.value);
  int32_t total = 0, place = 0, ties_left = t.ties, row_ties_left = t.ties;
  for (int r = 0; r < s.ranks; ++r) {
    const int32_t ties = min(row_ties_left, survey.ranks[r].count[1]);
    row_ties_left -= ties;
    total += survey.ranks[r].count[0] + ties;
    if (r < s.rank) {
      place = total;
      ties_left = row_ties_left;
    }
  }
  for (int w = 0; w < Warp(); ++w) {
    const int32_t ties = min(ties_left, survey.warps[w].count[1]);
    ties_left -= ties;
    place += survey.warps[w].count[0] + ties;
  }
  Entry* const list = OfRank(s.shared.list, 0, s.ranks);
  const int32_t first = Warp() * s.segment + 4 * Lane();
  const bool any = survey.warps[Warp()].count[0] + survey.warps[Warp()].count[1] > 0;
  for (int32_t i = first; any && i < first + s.segment; i += kWarpStep) {
    const float4 v = *reinterpret_cast<const float4*>(s.values + i);
    const float x[4] = {v.x, v.y, v.z, v.w};
    const unsigned kept = KeptByWarp(x, t, ties_left);
    if (__ballot_sync(kAllLanes, kept != 0) == 0) continue;
    const int32_t through = InclusiveWarpSum(__popc(kept), Lane());
    int32_t at = place + through - __popc(kept);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (kept >> j & 1) list[at++] = {x[j], s.begin + i + j};
    }
    place += __shfl_sync(kAllLanes, through, 31);
  }
  SyncCluster(s.ranks);
  return total;
}

__device__ inline ListPart LoadList(const Slice& s, int32_t count) {
  ListPart part;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int32_t i = 4 * static_cast<int32_t>(threadIdx.x) + j;
    part.values[j] = i < count ? s.shared.list[i].value : __int_as_float(0x7fc00000);
  }
  return part;
}

// A mask of the kept ones of the thread's four candidates.
__device__ inline unsigned KeptOfList(Slice& s, const ListPart& part, Threshold t) {
  Partial p = {};
#pragma unroll
  for (int j = 0; j < 4; ++j) p.count[0] += part.values[j] == t.value;
  const Partial* warps;
  SumBlock<false, true>(s, p, &warps);
  int32_t ties_left = t.ties;
  for (int w = 0; w < Warp(); ++w) ties_left = max(ties_left - warps[w].count[0], 0);
  return KeptByWarp(part.values, t, ties_left);
}

}  // namespace tidal::cuda::sampling

#endif  // TIDAL_KERNELS_CUDA_SAMPLING_SELECT_CUH_
