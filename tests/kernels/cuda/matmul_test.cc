#include "kernels/cuda/matmul.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/skinny_matmul.h"
#include "kernels/reference/layer_ops.h"
#include "tests/kernels/cuda/cuda_fixture.h"

namespace tidal {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kGuard = 12345;
constexpr size_t kGuards = 64;

struct Shape {
  int32_t out, in;
};

std::vector<bfloat16> RandomBFloat16(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<bfloat16> values(count);
  for (bfloat16& value : values) value = ToBFloat16(normal(random));
  return values;
}

std::vector<float> AsFloats(const std::vector<bfloat16>& values) {
  std::vector<float> floats;
  for (const bfloat16 value : values) floats.push_back(ToFloat(value));
  return floats;
}

std::vector<float> RandomFloats(int64_t count, uint32_t seed) {
  return AsFloats(RandomBFloat16(count, seed));
}

// A product's inputs and exact result; its first rows are those of a product of fewer tokens.
struct Case {
  Case(Shape shape, int32_t tokens, uint32_t seed)
      : shape(shape),
        weight(RandomBFloat16(int64_t{shape.out} * shape.in, seed)),
        x(RandomBFloat16(int64_t{tokens} * shape.in, seed + 1)),
        initial(RandomFloats(int64_t{tokens} * shape.out, seed + 2)),
        product(reference::MatMul(AsFloats(x), weight, shape.in, shape.out)) {}

  // Inputs are of order 1, so sums are of order sqrt(in), and a product left out is an error of
  // order 1. Rounding is some 1e-5 of a sum: tensor cores truncate at each of in / 16 steps.
  void ExpectEqual(const std::vector<float>& y, int32_t tokens, bool accumulate,
                   const std::string& what) const {
    const double tolerance = 1e-4 * std::sqrt(shape.in);
    const int64_t size = int64_t{tokens} * shape.out;
    double worst = 0;
    for (int64_t i = 0; i < size; ++i) {
      const double error = std::abs(y[i] - product[i] - (accumulate ? initial[i] : 0.0));
      ASSERT_FALSE(std::isnan(error)) << what << ", element " << i;
      worst = std::max(worst, error);
    }
    EXPECT_LE(worst, tolerance) << what;
    for (size_t i = size; i < y.size(); ++i) ASSERT_EQ(y[i], kGuard) << what << ", guard";
  }

  // y before the product.
  std::vector<float> Before(int32_t tokens, bool accumulate) const {
    const size_t size = size_t{1} * tokens * shape.out;
    std::vector<float> y(size, kNaN);
    if (accumulate) y.assign(initial.begin(), initial.begin() + size);
    y.resize(size + kGuards, kGuard);
    return y;
  }

  std::string Name(int32_t tokens, bool accumulate) const {
    return std::to_string(shape.out) + " x " + std::to_string(shape.in) + ", " +
           std::to_string(tokens) + " tokens" + (accumulate ? ", accumulating" : "");
  }

  Shape shape;
  std::vector<bfloat16> weight, x;
  std::vector<float> initial;
  std::vector<double> product;
};

// Through the back end.
class CudaMatMulTest : public CudaFixture {
 protected:
  std::vector<float> Multiply(const PackedWeight& weight, const DeviceArray<bfloat16>& x,
                              const std::vector<float>& before, int32_t tokens, bool accumulate) {
    DeviceArray<float> y(*backend_, before);
    backend_->MatMul({.weight = &weight,
                      .x = x.get(),
                      .y = y.get(),
                      .tokens = tokens,
                      .accumulate = accumulate});
    return y.Read();
  }
};

TEST_F(CudaMatMulTest, EqualsReference) {
  uint32_t seed = 1;
  for (const int32_t out : {1, 7, 37, 128, 1000}) {
    for (const int32_t in : {8, 24, 37, 48, 256, 704, 4096}) {
      const Case c({out, in}, 257, seed += 3);
      const auto weight = backend_->PackWeight({c.weight.data(), out, in});
      ASSERT_NE(weight, nullptr);
      EXPECT_EQ(weight->bytes(), size_t{2} * out * in);
      const DeviceArray<bfloat16> x(*backend_, c.x);
      for (const int32_t tokens : {0, 1, 2, 3, 7, 8, 9, 16, 17, 33, 130, 257}) {
        for (const bool accumulate : {false, true}) {
          const auto y = Multiply(*weight, x, c.Before(tokens, accumulate), tokens, accumulate);
          c.ExpectEqual(y, tokens, accumulate, c.Name(tokens, accumulate));
        }
      }
    }
  }
}

// Our own kernel, the library's, and the one for shapes that neither takes.
TEST_F(CudaMatMulTest, AddsTheBias) {
  uint32_t seed = 400;
  for (const Shape shape : {Shape{1, 8}, {37, 37}, {128, 256}, {1000, 704}}) {
    Case c(shape, 130, seed += 3);
    const std::vector<float> bias = RandomFloats(shape.out, seed + 50);
    for (size_t i = 0; i < c.product.size(); ++i) c.product[i] += bias[i % shape.out];
    const auto weight = backend_->PackWeight({c.weight.data(), shape.out, shape.in});
    ASSERT_NE(weight, nullptr);
    const DeviceArray<bfloat16> x(*backend_, c.x);
    const DeviceArray<float> device_bias(*backend_, bias);
    for (const int32_t tokens : {1, 7, 16, 17, 130}) {
      for (const bool accumulate : {false, true, false, true}) {  // timed, then planned
        DeviceArray<float> y(*backend_, c.Before(tokens, accumulate));
        backend_->MatMul({.weight = weight.get(),
                          .x = x.get(),
                          .y = y.get(),
                          .tokens = tokens,
                          .accumulate = accumulate,
                          .bias = device_bias.get()});
        c.ExpectEqual(y.Read(), tokens, accumulate, c.Name(tokens, accumulate) + ", bias");
      }
    }
  }
}

// Rows of activations and outputs in the middle of larger arrays.
TEST_F(CudaMatMulTest, TakesUnalignedRows) {
  const Case c({37, 48}, 40, 1);
  const auto weight = backend_->PackWeight({c.weight.data(), 37, 48});
  const DeviceArray<bfloat16> x(*backend_, c.x);
  for (const int32_t tokens : {1, 9, 20}) {
    for (const int32_t first : {1, 2, 3}) {
      DeviceArray<float> y(*backend_, std::vector<float>(40 * 37, kGuard));
      backend_->MatMul({.weight = weight.get(),
                        .x = x.get() + first * 48,
                        .y = y.get() + first * 37,
                        .tokens = tokens,
                        .accumulate = false});
      const auto all = y.Read();
      for (int32_t i = 0; i < 40 * 37; ++i) {
        const bool inside = i / 37 >= first && i / 37 < first + tokens;
        ASSERT_NEAR(all[i], inside ? c.product[i] : kGuard, 1e-4) << first << ", " << i;
      }
    }
  }
  // x at an odd element.
  DeviceArray<bfloat16> shifted(*backend_, c.x.size() + 1);
  std::vector<bfloat16> values = c.x;
  values.insert(values.begin(), bfloat16{0});
  shifted.Write(values);
  DeviceArray<float> y(*backend_, c.Before(20, false));
  backend_->MatMul({.weight = weight.get(),
                    .x = shifted.get() + 1,
                    .y = y.get(),
                    .tokens = 20,
                    .accumulate = false});
  c.ExpectEqual(y.Read(), 20, false, "x at an odd element");
}

TEST_F(CudaMatMulTest, ANaNRowStaysAlone) {
  const Shape shape{200, 512};
  const Case c(shape, 20, 7);
  const auto weight = backend_->PackWeight({c.weight.data(), shape.out, shape.in});
  std::vector<bfloat16> x = c.x;
  std::fill_n(x.begin() + 2 * shape.in, shape.in, ToBFloat16(kNaN));
  const DeviceArray<bfloat16> x_device(*backend_, x);
  for (const int32_t tokens : {3, 4, 8, 12, 16, 20}) {
    const auto y = Multiply(*weight, x_device, c.Before(tokens, false), tokens, false);
    for (int32_t i = 0; i < tokens * shape.out; ++i) {
      if (i / shape.out == 2) {
        ASSERT_TRUE(std::isnan(y[i]));
      } else {
        ASSERT_NEAR(y[i], c.product[i], 1e-3) << tokens << ", " << i;
      }
    }
  }
}

TEST_F(CudaMatMulTest, RepeatsBitForBit) {
  const Shape shape{300, 2048};
  const Case c(shape, 70, 9);
  const auto weight = backend_->PackWeight({c.weight.data(), shape.out, shape.in});
  const DeviceArray<bfloat16> x(*backend_, c.x);
  for (const int32_t tokens : {1, 5, 16, 70}) {
    const auto first = Multiply(*weight, x, c.Before(tokens, true), tokens, true);
    for (int i = 0; i < 5; ++i) {
      const auto again = Multiply(*weight, x, c.Before(tokens, true), tokens, true);
      ASSERT_EQ(std::memcmp(first.data(), again.data(), first.size() * sizeof(float)), 0);
    }
  }
}

// A chain whose links depend on each other and start early; shapes never seen before the capture.
TEST_F(CudaMatMulTest, RunsInsideAGraph) {
  if (!backend_->supports_graphs()) GTEST_SKIP() << "no graphs";
  GraphKey key = 1000;
  for (const int32_t tokens : {1, 6, 16, 40}) {
    const Case c({264, 520}, tokens, 20 + tokens);
    const auto weight = backend_->PackWeight({c.weight.data(), c.shape.out, c.shape.in});
    const DeviceArray<bfloat16> x(*backend_, c.x);
    DeviceArray<float> y(*backend_, c.Before(tokens, true));
    EXPECT_EQ(backend_->Synchronize(), "");
    const MatMulParams params{weight.get(), x.get(), y.get(), tokens, true};
    backend_->BeginGraph(++key);
    for (int i = 0; i < 3; ++i) backend_->MatMul(params);
    EXPECT_EQ(backend_->EndGraph(), "");
    ASSERT_TRUE(backend_->RunGraph(key));
    const auto actual = y.Read();
    for (int64_t i = 0; i < int64_t{tokens} * c.shape.out; ++i) {
      ASSERT_NEAR(actual[i], c.initial[i] + 6 * c.product[i], 5e-3) << tokens << ", " << i;
    }
  }
}

// The kernels and the engine themselves.
class CudaMatMulKernelTest : public testing::Test {
 protected:
  void SetUp() override {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) GTEST_SKIP() << "no CUDA device";
    cudaDeviceProp properties = {};
    ASSERT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
    context_.num_sms = properties.multiProcessorCount;
    context_.compute_capability = properties.major * 10 + properties.minor;
    context_.max_shared_memory = properties.sharedMemPerBlockOptin;
    context_.l2_bytes = properties.l2CacheSize;
    ASSERT_EQ(cudaStreamCreateWithFlags(&context_.stream, cudaStreamNonBlocking), cudaSuccess);
    ASSERT_TRUE(cuda::PrepareSkinnyMatMul(context_));
  }
  void TearDown() override {
    for (void* memory : memory_) cudaFree(memory);
    if (context_.stream != nullptr) cudaStreamDestroy(context_.stream);
    EXPECT_EQ(context_.error, "");
  }

  // Freed at the test's end.
  template <typename T>
  T* ToDevice(const std::vector<T>& host) {
    T* device = nullptr;
    EXPECT_EQ(cudaMalloc(&device, host.size() * sizeof(T)), cudaSuccess);
    memory_.push_back(device);
    Write(device, host);
    return device;
  }
  template <typename T>
  static void Write(T* device, const std::vector<T>& host) {
    EXPECT_EQ(cudaMemcpy(device, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice),
              cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }
  template <typename T>
  std::vector<T> ToHost(const T* device, size_t size) {
    std::vector<T> host(size);
    EXPECT_EQ(cudaStreamSynchronize(context_.stream), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(host.data(), device, size * sizeof(T), cudaMemcpyDeviceToHost),
              cudaSuccess);
    return host;
  }

  cuda::DeviceContext context_;
  std::vector<void*> memory_;
};

TEST_F(CudaMatMulKernelTest, EveryTilingEqualsReference) {
  uint32_t seed = 100;
  for (const Shape shape :
       {Shape{1, 8}, {37, 24}, {15, 520}, {33, 1048}, {100, 4096}, {65, 3336}}) {
    const Case c(shape, 16, seed += 3);
    const bfloat16* const weight = ToDevice(c.weight);
    const bfloat16* const x = ToDevice(c.x);
    float* const y = ToDevice(c.Before(16, true));
    for (int32_t tiling = 0; tiling < std::ssize(cuda::SkinnyTilings()); ++tiling) {
      if (!cuda::SkinnyTilingFits(tiling, context_)) continue;
      for (int32_t tokens = 1; tokens <= 16; ++tokens) {
        const bool accumulate = tokens % 2 == 0;
        const auto before = c.Before(tokens, accumulate);
        Write(y, before);
        cuda::SkinnyMatMul({weight, x, y, shape.out, shape.in, tokens, accumulate}, tiling,
                           context_);
        c.ExpectEqual(ToHost(y, before.size()), tokens, accumulate,
                      c.Name(tokens, accumulate) + ", tiling " + std::to_string(tiling));
      }
    }
  }
}

TEST_F(CudaMatMulKernelTest, EveryPathEqualsReference) {
  const Case c({520, 1032}, 48, 300);
  const std::vector<float> bias = RandomFloats(c.shape.out, 303);
  Case with_bias = c;
  for (size_t i = 0; i < c.product.size(); ++i) with_bias.product[i] += bias[i % c.shape.out];
  const float* const device_bias = ToDevice(bias);
  cuda::MatMulEngine engine(context_);
  ASSERT_TRUE(engine.Reserve());
  const auto weight = engine.Allocate(c.shape.out, c.shape.in);
  ASSERT_NE(weight, nullptr);
  Write(cuda::MatMulEngine::Data(*weight), c.weight);
  const bfloat16* const x = ToDevice(c.x);
  float* const y = ToDevice(c.Before(48, true));
  for (const auto path :
       {cuda::MatMulPath::kAuto, cuda::MatMulPath::kLibrary, cuda::MatMulPath::kOwn}) {
    engine.ForcePath(path);
    for (const int32_t tokens : {1, 4, 8, 13, 16, 48}) {
      for (const bool accumulate : {false, true, false, true}) {  // timed, then planned
        const auto before = c.Before(tokens, accumulate);
        for (const Case* expected : {&c, &std::as_const(with_bias)}) {
          Write(y, before);
          engine.MatMul({weight.get(), x, y, tokens, accumulate,
                         expected == &with_bias ? device_bias : nullptr});
          expected->ExpectEqual(ToHost(y, before.size()), tokens, accumulate,
                                c.Name(tokens, accumulate) + ", path " + std::to_string(int(path)) +
                                    (expected == &with_bias ? ", bias" : ""));
        }
      }
    }
  }
}

}  // namespace
}  // namespace tidal
