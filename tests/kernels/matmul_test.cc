#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/reference/layer_ops.h"
#include "tests/kernels/cpu_backend_fixture.h"

namespace tidal {
namespace {

struct Shape {
  int32_t out, in;
};

class MatMulTest : public CpuBackendFixture {
 protected:
  // y starts as `initial`; the elements past it must stay as they were.
  std::vector<float> Multiply(Backend& backend, const PackedWeight& weight,
                              const std::vector<float>& x, std::vector<float> initial,
                              bool accumulate, const float* bias = nullptr) {
    constexpr float kGuard = 12345;
    const std::vector<bfloat16> x_bf16 = AsBFloat16(x);
    const void* data = is_bf16() ? static_cast<const void*>(x_bf16.data()) : x.data();
    const size_t size = initial.size();
    initial.resize(size + 64, kGuard);
    backend.MatMul({.weight = &weight,
                    .x = data,
                    .y = initial.data(),
                    .tokens = static_cast<int32_t>(x.size() / weight.in_features()),
                    .accumulate = accumulate,
                    .bias = bias});
    for (size_t i = size; i < initial.size(); ++i) EXPECT_EQ(initial[i], kGuard) << i - size;
    initial.resize(size);
    return initial;
  }

  std::vector<float> Multiply(const PackedWeight& weight, const std::vector<float>& x) {
    const size_t size = x.size() / weight.in_features() * weight.out_features();
    return Multiply(*backend_, weight, x, std::vector<float>(size, NAN), false);
  }

  std::unique_ptr<PackedWeight> Pack(const std::vector<float>& weight, Shape shape) {
    return backend_->PackWeight({AsBFloat16(weight).data(), shape.out, shape.in});
  }
};
TIDAL_INSTANTIATE_FOR_EVERY_ISA(MatMulTest);

TEST_P(MatMulTest, EqualsReference) {
  for (const Shape shape : {Shape{512, 256}, {256, 704}, {1, 1}, {3, 16}, {65, 33}, {130, 100}}) {
    for (const int32_t tokens : {1, 2, 3, 17, 63, 64, 65, 150}) {
      const auto weight = RandomFloats(shape.out * shape.in, 1);
      const auto x = RandomFloats(tokens * shape.in, tokens);
      const auto packed = Pack(weight, shape);
      ASSERT_NE(packed, nullptr);
      const auto y = Multiply(*packed, x);
      const auto want = reference::MatMul(x, AsBFloat16(weight), shape.in, shape.out);
      for (size_t i = 0; i < y.size(); ++i) {
        // Sums of `in` products of order 1 in float.
        ASSERT_NEAR(y[i], want[i], 2e-6 * shape.in + 1e-6)
            << shape.out << "x" << shape.in << " " << i;
      }
    }
  }
}

TEST_P(MatMulTest, AccumulatesIntoY) {
  const Shape shape{200, 96};
  for (const int32_t tokens : {1, 5, 70}) {
    const auto packed = Pack(RandomFloats(shape.out * shape.in, 2), shape);
    const auto x = RandomFloats(tokens * shape.in, 3);
    const auto initial = RandomFloats(tokens * shape.out, 4);
    const auto product = Multiply(*packed, x);
    const auto y = Multiply(*backend_, *packed, x, initial, true);
    for (size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], initial[i] + product[i]) << i;
  }
}

TEST_P(MatMulTest, AddsTheBias) {
  for (const Shape shape : {Shape{512, 256}, {1, 1}, {65, 33}, {200, 96}}) {
    for (const int32_t tokens : {1, 2, 17, 70}) {
      const auto weight = RandomFloats(shape.out * shape.in, 13);
      const auto packed = Pack(weight, shape);
      const auto x = RandomFloats(tokens * shape.in, 14);
      const auto initial = RandomFloats(tokens * shape.out, 15);
      const auto bias = RandomFloats(shape.out, 16, 5);
      const auto want = reference::MatMul(x, AsBFloat16(weight), shape.in, shape.out, bias.data());
      const std::vector<float> nothing(initial.size(), NAN);
      const auto y = Multiply(*backend_, *packed, x, nothing, false, bias.data());
      const auto sum = Multiply(*backend_, *packed, x, initial, true, bias.data());
      for (size_t i = 0; i < y.size(); ++i) {
        ASSERT_NEAR(y[i], want[i], 2e-6 * shape.in + 5e-6) << shape.out << " " << i;
        ASSERT_EQ(sum[i], initial[i] + y[i]) << shape.out << " " << i;
      }
    }
  }
}

TEST_P(MatMulTest, ARowDoesNotDependOnTheOthersOrTheirNumber) {
  for (const Shape shape : {Shape{512, 256}, {256, 704}, {100, 37}}) {
    const auto packed = Pack(RandomFloats(shape.out * shape.in, 5), shape);
    constexpr int32_t kTokens = 140;
    const auto x = RandomFloats(kTokens * shape.in, 6);
    const auto all = Multiply(*packed, x);
    for (int32_t tokens = 1; tokens <= 70; ++tokens) {
      const int32_t first = tokens * 7 % (kTokens - tokens + 1);
      const std::vector<float> part(x.begin() + first * shape.in,
                                    x.begin() + (first + tokens) * shape.in);
      const auto y = Multiply(*packed, part);
      ASSERT_EQ(std::memcmp(y.data(), all.data() + first * shape.out, y.size() * sizeof(float)), 0)
          << tokens << " rows from " << first << ", out " << shape.out;
    }
  }
}

TEST_P(MatMulTest, ANaNRowStaysAlone) {
  const Shape shape{64, 32};
  const auto packed = Pack(RandomFloats(shape.out * shape.in, 7), shape);
  auto x = RandomFloats(20 * shape.in, 8);
  const auto clean = Multiply(*packed, x);
  std::fill_n(x.begin() + 5 * shape.in, shape.in, NAN);
  const auto y = Multiply(*packed, x);
  for (int32_t i = 0; i < 20 * shape.out; ++i) {
    if (i / shape.out == 5) {
      EXPECT_TRUE(std::isnan(y[i]));
    } else {
      ASSERT_EQ(y[i], clean[i]);
    }
  }
}

TEST_P(MatMulTest, ThreadsDoNotChangeTheResult) {
  const Shape shape{320, 128};
  const auto weight = AsBFloat16(RandomFloats(shape.out * shape.in, 9));
  const auto x = RandomFloats(67 * shape.in, 10);
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2, 3, 4}) {
    const auto backend = MakeCpuBackend({.num_threads = threads, .isa = GetParam()});
    const auto packed = backend->PackWeight({weight.data(), shape.out, shape.in});
    std::vector<float> y(67 * shape.out);
    results.push_back(Multiply(*backend, *packed, x, y, false));
  }
  for (const auto& result : results) EXPECT_EQ(result, results[0]);
}

TEST_P(MatMulTest, NoTokensWriteNothing) {
  const auto packed = Pack(RandomFloats(64 * 64, 11), {64, 64});
  EXPECT_TRUE(Multiply(*packed, {}).empty());
}

TEST_P(MatMulTest, ReportsTheBytesItReads) {
  const auto packed = Pack(RandomFloats(512 * 256, 12), {512, 256});
  EXPECT_EQ(packed->bytes(), 512u * 256 * (is_bf16() ? 2 : 4));
  EXPECT_EQ(packed->out_features(), 512);
  EXPECT_EQ(packed->in_features(), 256);
}

}  // namespace
}  // namespace tidal
