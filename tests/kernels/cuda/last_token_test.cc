// Decode attention begins while the operations before it are at work, among them the one that
// writes the last token of every row. As in a step of a model they follow without a pause here; the
// outputs are to be those of a run in which the device is waited for in between.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "tests/kernels/cuda/cuda_fixture.h"
#include "tests/kernels/cuda/device_decode_case.h"
#include "tests/kernels/decode_case.h"

namespace tidal {
namespace {

constexpr int32_t kBusyRows = 4096, kBusyHidden = 2048;  // of an operation of some 20 us
constexpr int32_t kBudget = 80;

using Decode = std::function<void(float* out)>;
using MakeDecode = std::function<Decode(DeviceDecodeCase&, const DecodeCase&)>;

class CudaLastTokenTest : public CudaFixture {
 protected:
  // Runs attention 100 times right after the last tokens are written, which were no numbers before.
  void ExpectWrittenTokensAreRead(const DecodeShape& shape, int32_t budget,
                                  const MakeDecode& make_decode) {
    const std::vector<int32_t> lens = {1, 15, 16, 17, 64, 65, 80, 81, 300, 1000, 1024, 4097};
    const auto rows = static_cast<int32_t>(lens.size());
    DecodeCase c(shape, lens, 3);
    DeviceDecodeCase device(c, std::vector<int32_t>(rows, budget));
    Backend& backend = device.backend();
    const Decode decode = make_decode(device, c);

    const int32_t qkv_size = rows * (shape.num_heads + 2 * shape.num_kv_heads) * shape.head_dim;
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    std::vector<float> numbers(qkv_size);
    std::generate(numbers.begin(), numbers.end(), [&] { return normal(random); });
    const DeviceArray<float> qkv(backend, numbers);
    const DeviceArray<float> no_numbers(
        backend, std::vector<float>(qkv_size, std::numeric_limits<float>::quiet_NaN()));
    std::vector<float> angles(shape.head_dim, 0.0f);
    std::fill_n(angles.begin(), shape.head_dim / 2, 1.0f);  // no rotation
    const DeviceArray<float> cos_sin(backend, angles);
    const DeviceArray<int32_t> positions(backend, std::vector<int32_t>(rows, 0));
    std::vector<int32_t> last_slots;
    for (int32_t row = 0; row < rows; ++row) last_slots.push_back(c.Slot(row, lens[row] - 1));
    const DeviceArray<int32_t> slots(backend, last_slots);
    const DeviceArray<bfloat16> q(backend, size_t(rows) * shape.num_heads * shape.head_dim);
    const auto store = [&](const DeviceArray<float>& from) {
      backend.RopeStoreKv({.qkv = from.get(),
                           .cos_sin = cos_sin.get(),
                           .positions = positions.get(),
                           .slot_mapping = slots.get(),
                           .q = q.get(),
                           .kv = device.Params(nullptr).kv,
                           .tokens = rows,
                           .num_heads = shape.num_heads,
                           .q_norm = nullptr,
                           .k_norm = nullptr,
                           .norm_epsilon = 0.0f});
    };
    const DeviceArray<float> busy_in(backend, size_t{kBusyRows} * kBusyHidden);
    const DeviceArray<bfloat16> weight(backend, kBusyHidden);
    const DeviceArray<float> busy_out(backend, size_t{kBusyRows} * kBusyHidden);
    const auto keep_busy = [&] {
      backend.RmsNorm({busy_in.get(), weight.get(), busy_out.get(), DType::kF32, kBusyRows,
                       kBusyHidden, 1e-5f});
    };

    const auto run = [&](bool wait) {
      DeviceArray<float> out(backend, device.Poison());
      store(no_numbers);
      EXPECT_EQ(backend.Synchronize(), "");
      device.Plan();
      keep_busy();
      store(qkv);
      if (wait) {
        EXPECT_EQ(backend.Synchronize(), "");
      }
      decode(out.get());
      return out.Read();
    };
    const std::vector<float> expected = run(/*wait=*/true);
    for (float x : expected) ASSERT_TRUE(std::isfinite(x));
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE(run(/*wait=*/false) == expected) << "head_dim " << shape.head_dim << ", " << i;
    }
  }
};

constexpr DecodeShape kShapes[] = {{4, 2, 64, 16}, {32, 8, 128, 16}, {8, 8, 80, 32}};

TEST_F(CudaLastTokenTest, OfDenseAttention) {
  for (const DecodeShape& shape : kShapes) {
    ExpectWrittenTokensAreRead(
        shape, /*budget=*/0, [](DeviceDecodeCase& device, const DecodeCase&) {
          return [&device](float* out) { device.backend().PagedDecode(device.Params(out)); };
        });
  }
}

// The last token is the last one of every selection.
TEST_F(CudaLastTokenTest, OfSparseAttention) {
  for (const DecodeShape& shape : kShapes) {
    for (auto granularity : {SelectionGranularity::kShared, SelectionGranularity::kKvHead}) {
      const auto make_decode = [&](DeviceDecodeCase& device, const DecodeCase& c) {
        SelectionBuffer selection(c, granularity);
        for (int32_t row = 0; row < c.rows(); ++row) {
          std::vector<int32_t> chosen(std::min(c.context_len(row), kBudget));
          std::iota(chosen.begin(), chosen.end(), 0);
          chosen.back() = c.context_len(row) - 1;
          for (int32_t set = 0; set < selection.sets(); ++set) {
            selection.Assign(c, row, set, chosen);
          }
        }
        const auto on_device = std::make_shared<DeviceSelection>(device.backend(), selection);
        return [&device, on_device](float* out) {
          device.backend().SparseDecode(device.SparseParams(on_device->view(), out));
        };
      };
      ExpectWrittenTokensAreRead(shape, kBudget, make_decode);
    }
  }
}

}  // namespace
}  // namespace tidal
