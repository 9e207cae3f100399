// Prefill attention of the CUDA back end, through cuDNN and through our own kernel, against the
// double-precision reference.
#include "kernels/cuda/attention/prefill.h"

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/reference/attention_prefill.h"
#include "tests/kernels/prefill_case.h"

namespace tidal {
namespace {

using cuda::PrefillAttentionEngine;
using cuda::PrefillLibrary;

// Weights are rounded to bf16 before they meet the values: 2^-9 of values of order 1 to 4.
constexpr double kTolerance = 0.008;

template <typename T>
class Memory {
 public:
  explicit Memory(const std::vector<T>& host) : size_(host.size()) {
    EXPECT_EQ(cudaMalloc(&data_, std::max<size_t>(size_, 1) * sizeof(T)), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(data_, host.data(), size_ * sizeof(T), cudaMemcpyHostToDevice),
              cudaSuccess);
  }
  ~Memory() { cudaFree(data_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  T* get() const { return data_; }
  std::vector<T> Read() const {
    std::vector<T> host(size_);
    EXPECT_EQ(cudaMemcpy(host.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost),
              cudaSuccess);
    return host;
  }

 private:
  size_t size_;
  T* data_ = nullptr;
};

float AsFloat(float x) { return x; }
float AsFloat(bfloat16 x) { return ToFloat(x); }

class PrefillTest : public testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
      GTEST_SKIP() << "no CUDA device here";
    }
    int major = 0, minor = 0;
    ASSERT_EQ(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), cudaSuccess);
    ASSERT_EQ(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0), cudaSuccess);
    ASSERT_EQ(cudaDeviceGetAttribute(&context_.num_sms, cudaDevAttrMultiProcessorCount, 0),
              cudaSuccess);
    context_.compute_capability = 10 * major + minor;
    ASSERT_EQ(cudaStreamCreate(&context_.stream), cudaSuccess);
  }
  void TearDown() override {
    EXPECT_EQ(context_.error, "");
    if (context_.stream != nullptr) cudaStreamDestroy(context_.stream);
  }

  // The outputs of the tokens [first, first + count) of a case of one sequence as a chunk of their
  // own; of all tokens of any case without `count`.
  template <typename T>
  std::vector<float> Run(PrefillAttentionEngine& engine, const PrefillCase& c, int32_t first = 0,
                         int32_t count = -1) {
    PrefillAttentionParams p = c.Params();
    const size_t row = size_t(p.num_heads) * p.kv.head_dim;
    std::vector<int32_t> cu(p.cu_query_lens, p.cu_query_lens + p.num_sequences + 1);
    std::vector<int32_t> lens(p.tables.context_lens, p.tables.context_lens + p.num_sequences);
    if (count >= 0) {
      cu = {0, count};
      lens = {c.chunks()[0].cached + first + count};
      p.max_query_len = count;
      p.max_context_len = lens[0];
    } else {
      count = c.tokens();
    }
    const Memory<bfloat16> q({c.q().begin() + first * row, c.q().begin() + (first + count) * row});
    const Memory<bfloat16> k(c.k()), v(c.v());
    const Memory<int32_t> tables(c.tables()), slots(c.sequence_slots()), cu_query_lens(cu),
        context_lens(lens);
    // Behind the outputs lies a guard.
    std::vector<T> host(count * row + 64);
    std::fill(host.begin(), host.end(), Guard<T>());
    const Memory<T> out(host);
    p.q = q.get();
    p.kv.k = k.get();
    p.kv.v = v.get();
    p.tables.blocks = tables.get();
    p.tables.sequence_slots = slots.get();
    p.tables.context_lens = context_lens.get();
    p.cu_query_lens = cu_query_lens.get();
    p.out = out.get();
    p.out_type = sizeof(T) == 4 ? DType::kF32 : DType::kBF16;
    engine.Run(p);
    EXPECT_EQ(cudaStreamSynchronize(context_.stream), cudaSuccess);
    EXPECT_EQ(context_.error, "");
    host = out.Read();
    for (size_t i = count * row; i < host.size(); ++i) {
      EXPECT_EQ(AsFloat(host[i]), AsFloat(Guard<T>())) << "guard";
    }
    std::vector<float> values;
    for (size_t i = 0; i < count * row; ++i) values.push_back(AsFloat(host[i]));
    return values;
  }

  template <typename T>
  void ExpectEqualsReference(PrefillAttentionEngine& engine, const PrefillCase& c,
                             const std::string& name) {
    const auto out = Run<T>(engine, c);
    const auto want = reference::PrefillAttention(c.Params());
    ASSERT_EQ(out.size(), want.size());
    for (size_t i = 0; i < out.size(); ++i) {
      // A bf16 output is rounded once more.
      const double tolerance = kTolerance + (sizeof(T) == 2 ? std::abs(want[i]) / 256 : 0);
      ASSERT_NEAR(out[i], want[i], tolerance) << name << " at " << i;
    }
  }

  std::unique_ptr<PrefillAttentionEngine> Make(PrefillLibrary library, const PrefillHeads& heads,
                                               int32_t max_tokens, int32_t max_context_len) {
    auto engine = std::make_unique<PrefillAttentionEngine>(context_, library);
    EXPECT_TRUE(engine->Reserve(PrefillLimits(heads, max_tokens, max_context_len)));
    return engine;
  }

  static bool UsesCudnn(const PrefillAttentionEngine& engine) {
    return engine.description().starts_with("cuDNN");
  }

  cuda::DeviceContext context_;

 private:
  template <typename T>
  static T Guard() {
    if constexpr (sizeof(T) == 4)
      return -77.0f;
    else
      return ToBFloat16(-77.0f);
  }
};

class OwnPrefillTest : public PrefillTest {
 protected:
  void SetUp() override {
    PrefillTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    engine_ = std::make_unique<PrefillAttentionEngine>(context_, PrefillLibrary::kOwn);
    ASSERT_TRUE(engine_->Reserve(PrefillLimits({1, 1, 16, 16}, 1, 1)));
  }
  std::unique_ptr<PrefillAttentionEngine> engine_;
};

TEST_F(OwnPrefillTest, EqualsReferenceForEveryHeadShape) {
  for (const int32_t head_dim : {16, 32, 48, 64, 80, 112, 128, 144, 256}) {
    for (const int32_t group : {1, 2, 3, 5, 8, 16}) {
      const PrefillHeads heads{2 * group, 2, head_dim, 16 << (head_dim / 16 + group) % 3};
      ExpectEqualsReference<float>(*engine_,
                                   PrefillCase(heads, {{0, 37}, {70, 3}}, head_dim + group),
                                   "D " + std::to_string(head_dim) + " G " + std::to_string(group));
    }
  }
}

TEST_F(OwnPrefillTest, EqualsReferenceForEveryLength) {
  for (const int32_t tokens : {1, 2, 3, 17, 63, 64, 65, 500}) {
    for (const int32_t cached : {0, 1, 15, 16, 17, 255, 256, 1000}) {
      const PrefillHeads heads{2, 1, 16, 16 << (tokens + cached) % 3};
      ExpectEqualsReference<float>(*engine_, PrefillCase(heads, {{cached, tokens}}, tokens),
                                   std::to_string(tokens) + " after " + std::to_string(cached));
    }
  }
}

// Enough blocks for every multiprocessor: the tiles of 128 rows.
TEST_F(OwnPrefillTest, EqualsReferenceWithLargeTiles) {
  for (const int32_t head_dim : {16, 64, 112, 128}) {
    const PrefillCase c({32, 8, head_dim, 16}, {{13, 530}}, head_dim);
    ExpectEqualsReference<float>(*engine_, c, "D " + std::to_string(head_dim));
  }
  ExpectEqualsReference<float>(*engine_, PrefillCase({40, 8, 128, 32}, {{300, 140}, {0, 257}}, 3),
                               "G 5");
}

TEST_F(OwnPrefillTest, SequencesOfOneCallAreIndependent) {
  const std::vector<PrefillChunk> chunks = {{0, 5}, {300, 1}, {0, 64}, {17, 130}, {15, 0}, {0, 1}};
  ExpectEqualsReference<float>(*engine_, PrefillCase({4, 2, 64, 32}, chunks, 3), "several");
  ExpectEqualsReference<bfloat16>(*engine_, PrefillCase({32, 8, 128, 16}, chunks, 4), "bf16");
}

TEST_F(OwnPrefillTest, EqualsReferenceForEveryWindow) {
  for (const int32_t window : {1, 2, 15, 16, 63, 64, 65, 127, 128, 129, 300, 5000}) {
    for (const PrefillChunk chunk : {PrefillChunk{0, 330}, PrefillChunk{257, 70}}) {
      for (const PrefillHeads heads :
           {PrefillHeads{2, 1, 64, 16, window}, PrefillHeads{32, 8, 128, 32, window}}) {
        ExpectEqualsReference<float>(*engine_, PrefillCase(heads, {chunk, {20, 30}}, window),
                                     "window " + std::to_string(window));
      }
    }
  }
}

TEST_F(OwnPrefillTest, ResultDoesNotDependOnTheChunks) {
  constexpr int32_t kTokens = 600;
  for (const PrefillHeads heads :
       {PrefillHeads{32, 8, 64, 16}, PrefillHeads{3, 1, 48, 32}, PrefillHeads{3, 1, 48, 32, 100}}) {
    const PrefillCase c(heads, {{10, kTokens}}, 4);
    const auto whole = Run<float>(*engine_, c);
    for (const int32_t chunk : {7, 64, 256, 599}) {
      std::vector<float> joined;
      for (int32_t first = 0; first < kTokens; first += chunk) {
        const auto part = Run<float>(*engine_, c, first, std::min(chunk, kTokens - first));
        joined.insert(joined.end(), part.begin(), part.end());
      }
      EXPECT_EQ(joined, whole) << "chunks of " << chunk;  // bit for bit
    }
  }
}

TEST_F(OwnPrefillTest, LargeScoresDoNotOverflow) {
  PrefillCase c({2, 1, 32, 16}, {{0, 90}}, 7);
  c.ScaleKeys(300);
  ExpectEqualsReference<float>(*engine_, c, "large scores");
}

TEST_F(OwnPrefillTest, Bf16OutputIsTheRoundedFloatOutput) {
  const PrefillCase c({4, 2, 80, 16}, {{3, 70}}, 8);
  const auto floats = Run<float>(*engine_, c);
  const auto rounded = Run<bfloat16>(*engine_, c);
  for (size_t i = 0; i < floats.size(); ++i) {
    ASSERT_EQ(rounded[i], ToFloat(ToBFloat16(floats[i])));
  }
}

TEST_F(OwnPrefillTest, NoSequencesWriteNothing) {
  EXPECT_TRUE(Run<float>(*engine_, PrefillCase({4, 2, 64, 16}, {}, 9)).empty());
}

// Skips where cuDNN is not installed; fails where it is there and makes no plan, or stops working.
class CudnnPrefillTest : public PrefillTest {
 protected:
  void SetUp() override {
    PrefillTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const PrefillAttentionEngine engine(context_, PrefillLibrary::kCudnn);
    if (!UsesCudnn(engine)) GTEST_SKIP() << engine.description();
  }
};

TEST_F(CudnnPrefillTest, EqualsReferenceForEveryHeadShape) {
  for (const int32_t head_dim : {64, 128}) {
    for (const int32_t group : {1, 2, 3, 5, 8, 16}) {
      const PrefillHeads heads{2 * group, 2, head_dim, 16 << group % 3};
      const auto engine = Make(PrefillLibrary::kCudnn, heads, 300, 500);
      const std::string name = "D " + std::to_string(head_dim) + " G " + std::to_string(group);
      for (const int32_t tokens : {37, 130}) {
        ExpectEqualsReference<bfloat16>(*engine, PrefillCase(heads, {{70, tokens}}, group), name);
      }
      ASSERT_TRUE(UsesCudnn(*engine)) << name << ": " << engine->description();
    }
  }
}

TEST_F(CudnnPrefillTest, EqualsReferenceForEveryLength) {
  for (const int32_t block_size : {16, 32, 64}) {
    const PrefillHeads heads{2, 1, 64, block_size};
    const auto engine = Make(PrefillLibrary::kCudnn, heads, 512, 2000);
    for (const int32_t tokens : {1, 2, 3, 17, 63, 64, 65, 500}) {
      for (const int32_t cached : {0, 1, 15, 16, 17, 255, 256, 1000}) {
        ExpectEqualsReference<bfloat16>(*engine, PrefillCase(heads, {{cached, tokens}}, tokens),
                                        std::to_string(tokens) + " after " +
                                            std::to_string(cached) + ", blocks of " +
                                            std::to_string(block_size));
        if (HasFatalFailure()) return;
      }
    }
    ASSERT_TRUE(UsesCudnn(*engine)) << engine->description();
  }
}

TEST_F(CudnnPrefillTest, SequencesOfOneCallAreIndependent) {
  const PrefillHeads heads{8, 2, 128, 16};
  const auto engine = Make(PrefillLibrary::kCudnn, heads, 2048, 2048);
  const std::vector<PrefillChunk> few = {{0, 5}, {300, 1}, {0, 64}, {17, 130}, {15, 0}, {0, 1}};
  ExpectEqualsReference<bfloat16>(*engine, PrefillCase(heads, few, 3), "few");
  std::vector<PrefillChunk> many;  // more than the batched plan takes
  for (int32_t i = 0; i < 19; ++i) many.push_back({i * 37 % 200, 1 + i * 29 % 90});
  ExpectEqualsReference<bfloat16>(*engine, PrefillCase(heads, many, 4), "many");
  // A chunk too long for the batched plan.
  const PrefillCase mixed(heads, {{20, 40}, {0, 1100}, {3, 3}}, 5);
  ExpectEqualsReference<bfloat16>(*engine, mixed, "mixed");
  ASSERT_TRUE(UsesCudnn(*engine)) << engine->description();
}

TEST_F(CudnnPrefillTest, ResultHardlyDependsOnTheChunks) {
  constexpr int32_t kTokens = 600;
  const PrefillHeads heads{8, 2, 128, 16};
  const auto engine = Make(PrefillLibrary::kCudnn, heads, kTokens, 1024);
  const PrefillCase c(heads, {{10, kTokens}}, 4);
  const auto whole = Run<bfloat16>(*engine, c);
  for (const int32_t chunk : {64, 256, 599}) {
    for (int32_t first = 0; first < kTokens; first += chunk) {
      const auto part = Run<bfloat16>(*engine, c, first, std::min(chunk, kTokens - first));
      const auto* same = &whole[size_t(first) * heads.heads * heads.head_dim];
      for (size_t i = 0; i < part.size(); ++i) {
        ASSERT_NEAR(part[i], same[i], kTolerance + std::abs(same[i]) / 128) << chunk << " " << i;
      }
    }
  }
  ASSERT_TRUE(UsesCudnn(*engine)) << engine->description();
}

TEST_F(CudnnPrefillTest, OtherCallsGoToOurOwnKernel) {
  const PrefillHeads heads{4, 2, 64, 16};
  const auto engine = Make(PrefillLibrary::kCudnn, heads, 256, 512);
  ExpectEqualsReference<float>(*engine, PrefillCase(heads, {{9, 200}}, 1), "float outputs");
  ExpectEqualsReference<bfloat16>(*engine, PrefillCase(heads, {{9, 300}}, 2), "a longer chunk");
  ExpectEqualsReference<bfloat16>(*engine, PrefillCase({4, 2, 48, 16}, {{9, 99}}, 3),
                                  "other heads");
  ASSERT_TRUE(UsesCudnn(*engine)) << engine->description();
}

}  // namespace
}  // namespace tidal
