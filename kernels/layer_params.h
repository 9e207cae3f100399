// The inputs of the operations of a transformer layer other than attention. Same conventions as
// kernels/attention/params.h. The residual stream is float; what enters a matrix product has the
// back end's matmul_type.
#ifndef TIDAL_KERNELS_LAYER_PARAMS_H_
#define TIDAL_KERNELS_LAYER_PARAMS_H_

#include <cstdint>

#include "kernels/attention/params.h"
#include "kernels/types.h"

namespace tidal {

struct EmbeddingParams {
  const bfloat16* table;     // [vocab, hidden]
  const int32_t* token_ids;  // [tokens], each in [0, vocab), or ~s for last_tokens[s]
  float* out;                // [tokens, hidden]
  int32_t tokens, hidden;
  // [sequence slots], each in [0, vocab): what the last Sample() gave them, which the host may not
  // know yet. Null where no id is below 0.
  const int32_t* last_tokens = nullptr;
};

// out = x / rms(x) * weight
struct RmsNormParams {
  const float* x;          // [tokens, hidden]
  const bfloat16* weight;  // [hidden]
  void* out;               // [tokens, hidden] of out_type
  DType out_type;
  int32_t tokens, hidden;
  float epsilon;
};

// A weight matrix as a checkpoint has it, in host memory.
struct HostWeight {
  const bfloat16* data;  // [out_features, in_features]
  int32_t out_features, in_features;
};

// A weight matrix in the layout the back end multiplies fastest. Made once at load by
// LayerOps::PackWeight, owned by the caller, usable by one operation at a time.
class PackedWeight {
 public:
  PackedWeight(int32_t in_features, int32_t out_features)
      : in_features_(in_features), out_features_(out_features) {}
  virtual ~PackedWeight() = default;
  PackedWeight(const PackedWeight&) = delete;
  PackedWeight& operator=(const PackedWeight&) = delete;

  int32_t in_features() const { return in_features_; }
  int32_t out_features() const { return out_features_; }
  virtual size_t bytes() const = 0;  // read once by every product

 private:
  int32_t in_features_, out_features_;
};

// y = x W^T + bias, or y += x W^T + bias. The bias is part of the product because that is where it
// costs nothing: the result is in registers, and no caller has to know which of them have one. A
// row's result does not depend on the other rows; on a GPU the order of additions, and so the last
// bits, may depend on how many there are.
struct MatMulParams {
  const PackedWeight* weight;
  const void* x;  // [tokens, in_features] of the back end's matmul_type
  float* y;       // [tokens, out_features]
  int32_t tokens;
  bool accumulate;
  const float* bias = nullptr;  // [out_features] or null
};

// Normalises each head of q and k where weights for that are given (RMS, as in RmsNormParams),
// rotates them (pairs d, d + D/2: the "rotate half" form), writes q densely in bf16, and writes k
// and v into the cache.
struct RopeStoreKvParams {
  const float* qkv;             // [tokens, (H + 2 KV) * D]: q heads, then k heads, then v heads
  const float* cos_sin;         // [max_positions, D]: D/2 cosines, then D/2 sines
  const int32_t* positions;     // [tokens]
  const int32_t* slot_mapping;  // [tokens], cache slot each token's k and v go to; -1: nowhere
  bfloat16* q;                  // [tokens, H, D]
  PagedKvCache kv;
  int32_t tokens;
  int32_t num_heads;                 // H
  const bfloat16* q_norm = nullptr;  // [D], and
  const bfloat16* k_norm = nullptr;  // [D]: both, or neither
  float norm_epsilon = 0;
};

// out = silu(gate) * up
struct SwiGluParams {
  const float* gate_up;  // [tokens, 2 * intermediate]: gate, then up
  void* out;             // [tokens, intermediate] of out_type
  DType out_type;
  int32_t tokens, intermediate;
};

// New entries of block tables: to[updates[2 i]] = updates[2 i + 1] for i < *count.
struct UpdateTablesParams {
  int32_t* to;
  const int32_t* updates;  // [max_count, 2]
  const int32_t* count;
  int32_t max_count;  // host number
};

// out[i] = x[rows[i]]
struct GatherRowsParams {
  const void* x;        // [*, row_bytes]
  const int32_t* rows;  // [count]
  void* out;            // [count, row_bytes]
  int32_t count;
  int64_t row_bytes;
};

}  // namespace tidal

#endif  // TIDAL_KERNELS_LAYER_PARAMS_H_
