// Times the CPU's decode attention against the bytes it has to read.
//
//   attention_bench [portable] [shuffled]
//
// For each operation, shape and context: microseconds (best of many, over several layers' caches so
// that nothing stays in the processor's caches), GB/s of K and V rows, and the share of the
// bandwidth of a plain read of a whole layer, in order, by the same threads. Blocks are in order
// (a fresh pool), or shuffled (the worst a used pool can be).
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cpu/aligned_memory.h"
#include "kernels/cpu/attention/paged_decode.h"
#include "kernels/cpu/cpu_isa.h"
#include "kernels/cpu/thread_pool.h"

namespace tidal {
namespace {

constexpr int32_t kBlockSize = 16;
constexpr int32_t kMaxContext = 32768;
constexpr int64_t kCacheBytes = int64_t{512} << 20;  // beyond any last-level cache
constexpr int kRepeats = 60;
constexpr int32_t kFirst = 0;  // the only row's slot, and where its selection begins

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Shape {
  const char* name;
  int32_t num_heads, num_kv_heads, head_dim;
  int64_t RowBytes() const { return int64_t{2} * 2 * num_kv_heads * head_dim; }  // K and V
};

class AttentionBench {
 public:
  AttentionBench(const Shape& shape, bool shuffled, const cpu::AttentionKernels& kernels,
                 cpu::ThreadPool& pool)
      : shape_(shape), kernels_(kernels), pool_(pool) {
    num_layers_ = std::max<int64_t>(1, kCacheBytes / (kMaxContext * shape.RowBytes()));
    const int64_t half = LayerElements() * num_layers_;
    k_ = cpu::MakeAlignedArray<bfloat16>(half);
    v_ = cpu::MakeAlignedArray<bfloat16>(half);
    uint32_t state = 1;
    for (int64_t i = 0; i < half; ++i) {  // a cheap generator: there are 10^8 numbers
      state = state * 1664525u + 1013904223u;
      k_[i] = ToBFloat16(static_cast<int32_t>(state) * 0x1p-30f);
      v_[i] = ToBFloat16(static_cast<int32_t>(state * 69069u) * 0x1p-30f);
    }
    q_.resize(shape.num_heads * shape.head_dim);
    for (size_t i = 0; i < q_.size(); ++i) q_[i] = ToBFloat16(std::sin(static_cast<float>(i)));
    out_.resize(q_.size());
    blocks_.resize(kMaxContext / kBlockSize);
    std::iota(blocks_.begin(), blocks_.end(), 0);
    if (shuffled) std::shuffle(blocks_.begin(), blocks_.end(), std::mt19937(1));
    BackendLimits limits{};
    limits.max_decode_rows = 1;
    limits.max_context_len = kMaxContext;
    limits.max_scored_tokens = kMaxContext;
    limits.num_heads = shape.num_heads;
    limits.num_kv_heads = shape.num_kv_heads;
    limits.head_dim = shape.head_dim;
    if (!workspace_.Reserve(limits, pool.num_threads())) std::abort();
    positions_.resize(kMaxContext);
    slots_.resize(positions_.size());
    counts_.resize(1);
  }

  void Run() {
    for (int32_t context : {2048, 16384, 32768}) {
      Measure("PagedDecode", context, 0, context,
              [&](int i) { cpu::PagedDecode(Params(i, &context), kernels_, pool_, workspace_); });
      for (int32_t budget : {256, 2048}) {
        if (budget >= context) continue;
        const int32_t recency = budget / 4;
        const SelectTokensParams select{Selection(), &budget, &recency, 4,
                                        SelectionScore::kSoftmaxSum};
        Measure("SelectingDecode", context, budget, context, [&](int i) {
          const PagedDecodeParams p = Params(i, &context);
          cpu::ScoringDecode(p, select, kernels_, pool_, workspace_);
          cpu::SelectTokens(p, select, kernels_, pool_, workspace_);
        });
        Measure("SparseDecode", context, budget, budget, [&](int i) {
          const PagedDecodeParams p = Params(i, &context);  // over the selection left from above
          cpu::SparseDecode({p.q, p.kv, p.tables, &budget, Selection(), p.out, p.out_type, p.rows,
                             p.num_heads, p.max_context_len, p.softmax_scale},
                            kernels_, pool_, workspace_);
        });
      }
    }
  }

 private:
  int64_t LayerElements() const {
    return int64_t{kMaxContext} * shape_.num_kv_heads * shape_.head_dim;
  }
  PagedKvCache Layer(int call) {
    const int64_t at = call % num_layers_ * LayerElements();
    return {&k_[at], &v_[at], shape_.num_kv_heads, kBlockSize, shape_.head_dim};
  }
  // Best of kRepeats calls; call(i) works on layer i. Plain reads alternate with them, so that both
  // see the same machine.
  template <typename Call>
  void Measure(const char* what, int32_t context, int32_t budget, int32_t tokens, Call&& call) {
    double best = 1e9, best_read = 1e9;
    for (int i = 0; i < kRepeats; ++i) {
      double start = Seconds();
      ReadLayer(2 * i);
      best_read = std::min(best_read, Seconds() - start);
      start = Seconds();
      call(2 * i + 1);
      best = std::min(best, Seconds() - start);
    }
    const double read_rate = kMaxContext * shape_.RowBytes() / best_read * 1e-9;
    const double rate = tokens * shape_.RowBytes() / best * 1e-9;
    std::printf("%-10s %-15s context %6d budget %5d %9.1f us %6.2f GB/s, %5.1f %% of %.1f\n",
                shape_.name, what, context, budget, best * 1e6, rate, 100 * rate / read_rate,
                read_rate);
    std::fflush(stdout);
  }

  void ReadLayer(int call) {
    constexpr int64_t kChunk = int64_t{256} << 10;
    const int64_t half = LayerElements() * 2;
    const PagedKvCache layer = Layer(call);
    std::vector<uint64_t> sums(pool_.num_threads() * 8);
    pool_.ParallelFor(static_cast<int32_t>(2 * half / kChunk), [&](int32_t chunk, int worker) {
      const int64_t at = chunk * kChunk;
      const bfloat16* base = at < half ? layer.k : layer.v;
      const auto* words = reinterpret_cast<const uint64_t*>(base) + at % half / 8;
      uint64_t lanes[8] = {};
      for (int64_t w = 0; w < kChunk / 8; w += 8) {
        for (int j = 0; j < 8; ++j) lanes[j] ^= words[w + j];
      }
      for (uint64_t lane : lanes) sums[worker * 8] ^= lane;
    });
    sink_ = sums[0];
  }

  PagedDecodeParams Params(int call, const int32_t* context) {
    PagedDecodeParams params{};
    params.q = q_.data();
    params.kv = Layer(call);
    params.tables = {blocks_.data(), static_cast<int32_t>(blocks_.size()), &kFirst, context};
    params.out = out_.data();
    params.out_type = DType::kF32;
    params.rows = 1;
    params.num_heads = shape_.num_heads;
    params.max_context_len = *context;
    params.softmax_scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_dim));
    return params;
  }
  TokenSelection Selection() {
    return {positions_.data(), slots_.data(), counts_.data(),
            &kFirst,           kMaxContext,   SelectionGranularity::kShared};
  }

  const Shape shape_;
  const cpu::AttentionKernels& kernels_;
  cpu::ThreadPool& pool_;
  cpu::DecodeWorkspace workspace_;
  int64_t num_layers_;
  cpu::AlignedArray<bfloat16> k_, v_;  // [layers, blocks, KV, B, D]
  std::vector<bfloat16> q_;
  std::vector<float> out_;
  std::vector<int32_t> blocks_, positions_, slots_, counts_;
  volatile uint64_t sink_ = 0;  // keeps the plain read from being optimised away
};

}  // namespace
}  // namespace tidal

int main(int argc, char** argv) {
  bool portable = false, shuffled = false;
  for (int i = 1; i < argc; ++i) {
    portable |= std::strcmp(argv[i], "portable") == 0;
    shuffled |= std::strcmp(argv[i], "shuffled") == 0;
  }
  const bool avx512 = !portable && tidal::cpu::HasAvx512Bf16();
  tidal::cpu::ThreadPool pool(tidal::cpu::UsableProcessors());
  std::printf("%s, %d threads, blocks %s\n", avx512 ? "avx512_bf16" : "portable",
              pool.num_threads(), shuffled ? "shuffled" : "in order");
  for (const tidal::Shape& shape :
       {tidal::Shape{"tidal-nano", 4, 2, 64}, tidal::Shape{"8B", 32, 8, 128}}) {
    tidal::AttentionBench(shape, shuffled, tidal::cpu::GetAttentionKernels(avx512), pool).Run();
  }
  return 0;
}
