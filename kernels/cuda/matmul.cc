#include "kernels/cuda/matmul.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include "kernels/cuda/library_matmul.h"
#include "kernels/cuda/matmul_product.h"
#include "kernels/cuda/plain_matmul.h"
#include "kernels/cuda/skinny_matmul.h"

namespace tidal::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;
constexpr size_t kLeastScratchBytes = size_t{64} << 20;
constexpr int32_t kFlushColumns = 4096;

// More rows are compute-bound, where the library's first choice is good and timing takes long.
constexpr int32_t kMaxTimedTokens = 4096;
constexpr int32_t kFewTokens = 256;

class Weight final : public PackedWeight {
 public:
  Weight(int32_t in_features, int32_t out_features, void* data)
      : PackedWeight(in_features, out_features), data_(static_cast<bfloat16*>(data)) {}
  ~Weight() override { cudaFree(data_); }

  size_t bytes() const override { return size_t{2} * in_features() * out_features(); }
  bfloat16* data() const { return data_; }

 private:
  bfloat16* data_;
};

void* TryAllocate(size_t bytes) {
  void* memory = nullptr;
  if (cudaMalloc(&memory, std::max(bytes, size_t{1})) != cudaSuccess) {
    cudaGetLastError();  // an answer, not a broken device
    return nullptr;
  }
  return memory;
}

bool IsAligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

// Token counts that share a plan.
int32_t Bucket(int32_t tokens) {
  if (tokens <= kFewTokens) return static_cast<int32_t>(std::bit_ceil(uint32_t(tokens)));
  return (tokens + kFewTokens - 1) / kFewTokens * kFewTokens;
}

// How to compute the products of one shape: by our own kernel, or by the library.
struct Plan {
  std::optional<int32_t> tiling;
  std::optional<LibraryAlgorithm> algorithm;
  bool final = false;  // no timing would improve it
};

// out, in, bucket, accumulate, bias, y aligned to 16 bytes
using PlanKey = std::tuple<int32_t, int32_t, int32_t, bool, bool, bool>;

}  // namespace

class MatMulEngine::Impl {
 public:
  explicit Impl(DeviceContext& context) : context_(context), library_(context) {}
  ~Impl() {
    for (cudaEvent_t event : {begin_, end_}) {
      if (event != nullptr) cudaEventDestroy(event);
    }
    cudaFree(workspace_);
    cudaFree(scratch_);
  }

  bool Reserve() {
    scratch_bytes_ = std::max(kLeastScratchBytes, context_.l2_bytes);
    workspace_ = TryAllocate(kWorkspaceBytes);
    scratch_ = TryAllocate(scratch_bytes_ + 16);  // y starts up to 12 bytes in
    if (workspace_ == nullptr || scratch_ == nullptr) return false;
    library_.SetWorkspace(workspace_, kWorkspaceBytes);
    return context_.Check(cudaMemsetAsync(scratch_, 0, scratch_bytes_, context_.stream),
                          "MatMul") &&
           context_.Check(cudaEventCreate(&begin_), "MatMul") &&
           context_.Check(cudaEventCreate(&end_), "MatMul") && PrepareSkinnyMatMul(context_);
  }

  void MatMul(const MatMulProduct& product) {
    if (product.tokens <= 0) return;
    if (product.in_features % 8 != 0 || !IsAligned16(product.x) || !IsAligned16(product.bias)) {
      PlainMatMul(product, context_);
      return;
    }
    const Plan& plan = FindPlan(product);
    if (plan.tiling.has_value()) {
      SkinnyMatMul(product, *plan.tiling, context_);
    } else if (!plan.algorithm.has_value() || !library_.Run(product, *plan.algorithm)) {
      RunUnplanned(product);
    }
  }

  void ShareChoices(RankExchange* exchange) { exchange_ = exchange; }

  void ForcePath(MatMulPath path) {
    if (path != path_) plans_.clear();
    path_ = path;
  }

 private:
  const Plan& FindPlan(const MatMulProduct& product) {
    Plan& plan =
        plans_[PlanKey(product.out_features, product.in_features, Bucket(product.tokens),
                       product.accumulate, product.bias != nullptr, IsAligned16(product.y))];
    if (plan.final) return plan;
    if (CanTime(product)) {
      plan = exchange_ == nullptr ? TimedPlan(product) : PlanOfRankZero(product);
    } else if (!plan.tiling.has_value() && !plan.algorithm.has_value()) {
      plan = UntimedPlan(product);
    }
    return plan;
  }

  bool MayBeOwn(const MatMulProduct& product) const {
    return path_ != MatMulPath::kLibrary && SkinnyMatMulCovers(product);
  }

  Plan UntimedPlan(const MatMulProduct& product) {
    Plan plan;
    plan.final = product.tokens > kMaxTimedTokens;
    if (MayBeOwn(product)) {
      plan.tiling =
          DefaultSkinnyTiling(product.out_features, product.in_features, product.tokens, context_);
      return plan;
    }
    const std::vector<LibraryAlgorithm> candidates = library_.Candidates(product, 1);
    if (!candidates.empty()) plan.algorithm = candidates[0];
    return plan;
  }

  // The cached algorithm does not run these many rows, or there is none.
  void RunUnplanned(const MatMulProduct& product) {
    for (const LibraryAlgorithm& algorithm : library_.Candidates(product, 4)) {
      if (library_.Run(product, algorithm)) return;
    }
    PlainMatMul(product, context_);
  }

  // Ranks that hold the same weights compute the same bits, and none waits for the slower choice of
  // another.
  Plan PlanOfRankZero(const MatMulProduct& product) {
    struct {
      int32_t tiling;  // -1: none
      int32_t has_algorithm;
      LibraryAlgorithm algorithm;
    } choice = {-1, 0, {}};
    if (exchange_->rank() == 0) {
      const Plan plan = TimedPlan(product);
      choice.tiling = plan.tiling.value_or(-1);
      choice.has_algorithm = plan.algorithm.has_value() ? 1 : 0;
      if (plan.algorithm.has_value()) choice.algorithm = *plan.algorithm;
    }
    const auto take = [&](const char* const* pieces, size_t, size_t) {
      std::memcpy(&choice, pieces[0], sizeof(choice));
    };
    if (!exchange_->Run(&choice, sizeof(choice), take)) return UntimedPlan(product);
    Plan plan;
    plan.final = true;
    if (choice.tiling >= 0) plan.tiling = choice.tiling;
    if (choice.has_algorithm != 0) plan.algorithm = choice.algorithm;
    return plan;
  }

  bool CanTime(const MatMulProduct& product) {
    if (scratch_ == nullptr || !context_.error.empty() || product.tokens > kMaxTimedTokens ||
        (product.accumulate && OutputBytes(product) > scratch_bytes_)) {
      return false;
    }
    cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    return context_.Check(cudaStreamIsCapturing(context_.stream, &capture), "MatMul") &&
           capture == cudaStreamCaptureStatusNone;
  }

  static size_t OutputBytes(const MatMulProduct& product) {
    return sizeof(float) * product.tokens * product.out_features;
  }

  // Leaves y undefined, or untouched where the product adds to it.
  Plan TimedPlan(const MatMulProduct& product) {
    MatMulProduct trial = product;
    if (product.accumulate) {
      trial.y = static_cast<float*>(scratch_) + reinterpret_cast<uintptr_t>(product.y) % 16 / 4;
    }
    Plan best;
    best.final = true;
    float best_ms = std::numeric_limits<float>::infinity();
    const bool may_be_own = MayBeOwn(product);
    if (may_be_own) {
      for (int32_t tiling = 0; tiling < static_cast<int32_t>(SkinnyTilings().size()); ++tiling) {
        if (!SkinnyTilingFits(tiling, context_)) continue;
        const auto run = [&] {
          SkinnyMatMul(trial, tiling, context_);
          return true;
        };
        const float ms = Time(run, product.tokens, best_ms);
        if (ms < best_ms) {
          best_ms = ms;
          best.tiling = tiling;
        }
      }
    }
    if (may_be_own && path_ == MatMulPath::kOwn) return best;

    // Our own kernel overlaps with its neighbours in a step, which this timing does not show.
    constexpr float kOwnAdvantage = 0.97f;
    best_ms *= kOwnAdvantage;
    const int count = product.tokens <= kFewTokens ? 12 : 4;
    for (const LibraryAlgorithm& algorithm : library_.Candidates(trial, count)) {
      const auto run = [&] { return library_.Run(trial, algorithm); };
      const float ms = Time(run, product.tokens, best_ms);
      if (ms < best_ms) {
        best_ms = ms;
        best.algorithm = algorithm;
        best.tiling.reset();
      }
    }
    return best;
  }

  // The least of a few runs with a cold second-level cache, in milliseconds. One run far above
  // `to_beat` is enough. Infinity when it cannot run.
  template <typename Run>
  float Time(const Run& run, int32_t tokens, float to_beat) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const int repetitions = tokens <= kFewTokens ? 3 : 2;
    if (!run()) return kInfinity;  // its code is loaded now
    float least = kInfinity;
    for (int i = 0; i < repetitions && (i == 0 || least < 1.5f * to_beat); ++i) {
      FlushCache();
      float ms = 0;
      context_.Check(cudaEventRecord(begin_, context_.stream), "MatMul");
      run();
      context_.Check(cudaEventRecord(end_, context_.stream), "MatMul");
      if (!context_.Check(cudaEventSynchronize(end_), "MatMul") ||
          !context_.Check(cudaEventElapsedTime(&ms, begin_, end_), "MatMul")) {
        return kInfinity;
      }
      least = std::min(least, ms);
    }
    return least;
  }

  // Weights of a model never wait in the cache. Reads the scratch memory, as a weight; writing it
  // would leave lines to be written back during the run that is timed.
  void FlushCache() {
    MatMulProduct product = {};
    product.weight = static_cast<const bfloat16*>(scratch_);
    product.x = static_cast<const bfloat16*>(scratch_);
    product.y = static_cast<float*>(workspace_);
    product.out_features = static_cast<int32_t>(scratch_bytes_ / (2 * kFlushColumns));
    product.in_features = kFlushColumns;
    product.tokens = 1;
    SkinnyMatMul(product, 0, context_);
    // Not a kernel: nothing after it starts before the flush is over.
    context_.Check(cudaMemsetAsync(workspace_, 0, sizeof(float), context_.stream), "MatMul");
  }

  DeviceContext& context_;
  LibraryMatMul library_;
  MatMulPath path_ = MatMulPath::kAuto;
  RankExchange* exchange_ = nullptr;  // null: this rank is alone
  void* workspace_ = nullptr;         // the library's
  void* scratch_ = nullptr;  // for timing: what may be overwritten, and what flushes the cache
  size_t scratch_bytes_ = 0;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  std::map<PlanKey, Plan> plans_;
};

MatMulEngine::MatMulEngine(DeviceContext& context) : impl_(std::make_unique<Impl>(context)) {}

MatMulEngine::~MatMulEngine() = default;

bool MatMulEngine::Reserve() { return impl_->Reserve(); }

std::unique_ptr<PackedWeight> MatMulEngine::Allocate(int32_t out_features, int32_t in_features) {
  void* const data = TryAllocate(size_t{2} * out_features * in_features);
  if (data == nullptr) return nullptr;
  return std::make_unique<Weight>(in_features, out_features, data);
}

bfloat16* MatMulEngine::Data(PackedWeight& weight) { return static_cast<Weight&>(weight).data(); }

void MatMulEngine::MatMul(const MatMulParams& params) {
  const Weight& weight = static_cast<const Weight&>(*params.weight);
  impl_->MatMul({.weight = weight.data(),
                 .x = static_cast<const bfloat16*>(params.x),
                 .y = params.y,
                 .out_features = weight.out_features(),
                 .in_features = weight.in_features(),
                 .tokens = params.tokens,
                 .accumulate = params.accumulate,
                 .bias = params.bias});
}

void MatMulEngine::ShareChoices(RankExchange* exchange) { impl_->ShareChoices(exchange); }

void MatMulEngine::ForcePath(MatMulPath path) { impl_->ForcePath(path); }

}  // namespace tidal::cuda
