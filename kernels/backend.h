// The one interface between the engine and the hardware, in parts: whoever needs a part takes that.
// Shapes are checked by the engine; an operation aborts on a shape it was promised not to get.
#ifndef TIDAL_KERNELS_BACKEND_H_
#define TIDAL_KERNELS_BACKEND_H_

#include <cstdint>
#include <string>

#include "kernels/attention/attention_ops.h"
#include "kernels/device.h"
#include "kernels/layer_ops.h"
#include "kernels/model_shape.h"
#include "kernels/rank_ops.h"
#include "kernels/sampling_ops.h"

namespace tidal {

// The largest step the back end will be asked to run: its scratch memory is taken from this.
struct BackendLimits : ModelShape {
  int32_t max_tokens = 0;  // rows of one step, prefill tokens included
  int32_t max_decode_rows = 0;
  int32_t max_sampled_rows = 0;
  int32_t max_context_len = 0;
  int32_t block_size = 0;
  // Sum of the context lengths of a step's sparse rows, at most. One row of max_context_len fits.
  int64_t max_scored_tokens = 0;
  // The attention window of the layers that have one, where it is smaller than max_context_len;
  // else 0.
  int32_t window = 0;
};

// All operations are enqueued on the one device. Not thread-safe, like Device.
class Backend : public Device,
                public LayerOps,
                public AttentionOps,
                public SamplingOps,
                public RankOps {
 public:
  // Empty when the back end can run such a model, else "field: must be ..., got ...".
  virtual std::string WhyUnsupported(const BackendLimits& /*limits*/) const { return ""; }

  // Scratch memory for steps up to `limits`. False when it does not fit. Call once, before any
  // operation.
  [[nodiscard]] virtual bool Reserve(const BackendLimits& limits) = 0;
};

}  // namespace tidal

#endif  // TIDAL_KERNELS_BACKEND_H_
