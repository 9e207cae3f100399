#include "kernels/cuda/attention/prefill.h"

#include <utility>

#include "kernels/cuda/attention/prefill_cudnn.h"
#include "kernels/cuda/attention/prefill_own.h"

namespace tidal::cuda {
namespace {

// Where cuDNN is the faster one, measured on an H200: long chunks, and chunks of a tile or more
// that have a long context. Our own kernel packs the heads of a group into a tile, cuDNN pads the
// chunk to one.
bool IsForCudnn(const PrefillAttentionParams& params) {
  return params.max_query_len >= 1024 ||
         (params.max_query_len >= 128 && params.max_context_len >= 2048);
}

}  // namespace

class PrefillAttentionEngine::Impl {
 public:
  Impl(DeviceContext& context, PrefillLibrary library) : context_(context), library_(library) {
    PrepareOwnPrefill(context);
    if (library == PrefillLibrary::kOwn) {
      description_ = "own: as asked for";
      return;
    }
    std::string reason;
    cudnn_ = CudnnPrefill::Make(context, &reason);
    if (cudnn_ == nullptr) {
      UseOwn(reason);
    } else {
      description_ = "cuDNN " + cudnn_->version();
    }
  }

  bool Reserve(const BackendLimits& limits) {
    if (cudnn_ == nullptr) return true;
    bool out_of_memory = false;
    const std::string reason = cudnn_->Reserve(limits, &out_of_memory);
    if (!reason.empty()) UseOwn("cuDNN " + cudnn_->version() + ": " + reason);
    return !out_of_memory;
  }

  const std::string& description() const { return description_; }

  void Run(const PrefillAttentionParams& params) {
    if (params.num_sequences == 0 || params.max_query_len == 0) return;
    const bool wanted = library_ == PrefillLibrary::kCudnn || IsForCudnn(params);
    if (cudnn_ != nullptr && wanted && cudnn_->Supports(params)) {
      if (cudnn_->Run(params)) return;
      UseOwn("cuDNN " + cudnn_->version() + " failed to run");
    }
    OwnPrefillAttention(params, context_);
  }

 private:
  void UseOwn(const std::string& reason) {
    description_ = "own: " + reason;
    // Its memory may be in use by what is enqueued: it stays until the end.
    retired_ = std::move(cudnn_);
  }

  DeviceContext& context_;
  const PrefillLibrary library_;
  std::string description_;
  std::unique_ptr<CudnnPrefill> cudnn_;  // null when it is not used
  std::unique_ptr<CudnnPrefill> retired_;
};

PrefillAttentionEngine::PrefillAttentionEngine(DeviceContext& context, PrefillLibrary library)
    : impl_(std::make_unique<Impl>(context, library)) {}
PrefillAttentionEngine::~PrefillAttentionEngine() = default;

bool PrefillAttentionEngine::Reserve(const BackendLimits& limits) { return impl_->Reserve(limits); }

const std::string& PrefillAttentionEngine::description() const { return impl_->description(); }

void PrefillAttentionEngine::Run(const PrefillAttentionParams& params) { impl_->Run(params); }

}  // namespace tidal::cuda
