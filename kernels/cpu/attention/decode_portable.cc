// Decode attention in plain C++, written so that compilers vectorise the loops.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/attention/attention_kernels.h"

namespace tidal::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kLanes = 16;  // head_dim is a multiple

// First element of the row of token t of the split and KV head kv.
int64_t RowOffset(const SplitTask& task, int t, int kv) {
  const int b = task.block_size;
  const int at = task.blocks ? task.block_offset + t : task.slots[t];
  const int64_t block = task.blocks ? task.blocks[at / b] : at / b;
  const int row = at % b;
  return ((block * task.num_kv_heads + kv) * b + row) * task.head_dim;
}

float Dot(const bfloat16* a, const bfloat16* b, int n) {
  float sums[kLanes] = {};
  for (int i = 0; i < n; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) sums[j] += ToFloat(a[i + j]) * ToFloat(b[i + j]);
  }
  float sum = 0;
  for (float x : sums) sum += x;
  return sum;
}

// Turns the raw scores of one head into weights.
void Softmax(const SplitTask& task, int head) {
  float* scores = task.weights + head * kWeightStride;
  const float scale = task.softmax_scale * 1.44269504088896341f;
  // Lowest finite, not -infinity: see decode_avx512.cc. A NaN never compares greater.
  float max = std::numeric_limits<float>::lowest();
  for (int t = 0; t < task.num_tokens; ++t) max = std::max(max, scores[t] * scale);
  float sum = 0;
  for (int t = 0; t < task.num_tokens; ++t) {
    scores[t] = std::exp2(scores[t] * scale - max);
    sum += scores[t];
  }
  task.max[head] = max;
  task.sum[head] = sum;
}

void GroupMaxima(const SplitTask& task, int kv) {
  const float* scores = task.weights + kv * task.group_size * kWeightStride;
  float* maxima = task.max_logits + kv * kWeightStride;
  for (int t = 0; t < task.num_tokens; ++t) {
    float largest = -kInfinity;
    for (int h = 0; h < task.group_size; ++h) {
      largest = std::max(largest, scores[h * kWeightStride + t]);
    }
    maxima[t] = largest;
  }
}

void AttendSplit(const SplitTask& task) {
  const int d = task.head_dim;
  const int g = task.group_size;
  for (int t = 0; t < task.num_tokens; ++t) {
    for (int kv = task.kv_begin; kv < task.kv_end; ++kv) {
      const bfloat16* row = task.k + RowOffset(task, t, kv);
      for (int h = kv * g; h < (kv + 1) * g; ++h) {
        task.weights[h * kWeightStride + t] = Dot(task.q + h * d, row, d);
      }
    }
  }
  for (int kv = task.kv_begin; kv < task.kv_end; ++kv) {
    if (task.max_logits) GroupMaxima(task, kv);
    for (int h = kv * g; h < (kv + 1) * g; ++h) Softmax(task, h);
  }
  std::fill(task.acc + task.kv_begin * g * d, task.acc + task.kv_end * g * d, 0.0f);
  for (int t = 0; t < task.num_tokens; ++t) {
    for (int kv = task.kv_begin; kv < task.kv_end; ++kv) {
      const bfloat16* row = task.v + RowOffset(task, t, kv);
      for (int h = kv * g; h < (kv + 1) * g; ++h) {
        const float weight = task.weights[h * kWeightStride + t];
        float* acc = task.acc + h * d;
        for (int i = 0; i < d; ++i) acc[i] += weight * ToFloat(row[i]);
      }
    }
  }
}

void Combine(const float* acc, int64_t acc_stride, const float* factors, int64_t factor_stride,
             int32_t num_splits, int32_t head_dim, float* out) {
  std::fill(out, out + head_dim, 0.0f);
  for (int s = 0; s < num_splits; ++s) {
    const float factor = factors[s * factor_stride];
    for (int i = 0; i < head_dim; ++i) out[i] += factor * acc[s * acc_stride + i];
  }
}

}  // namespace

const DecodeKernels kPortableDecodeKernels = {AttendSplit, Combine};

}  // namespace tidal::cpu
