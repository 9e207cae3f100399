#include "kernels/cpu/matmul.h"

#include <algorithm>
#include <cstring>
#include <dnnl.hpp>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/cpu/aligned_memory.h"

// oneDNN's OpenMP runtime. Declared here because <omp.h> comes with the compiler's own runtime,
// which need not be the one that oneDNN was built with.
extern "C" void omp_set_num_threads(int);

namespace tidal::cpu {
namespace {

using dnnl::memory;

constexpr int32_t kColumnsMultiple = 64;  // oneDNN's bf16 weights come in blocks of 64 columns
constexpr int32_t kMaxTileRows = 64;

// Rows of one primitive, at most.
int32_t TileRows(DType type) { return type == DType::kBF16 ? kMaxTileRows : 60; }

// The rows that `rows` <= TileRows(type) tokens are computed as, the rest being zeros: few sizes,
// so few primitives. In bf16 one implementation gives a row the same result in all of them. In
// float it does not: oneDNN's AVX2 kernels take six rows at a time and sum the rows of a remainder
// in another order.
int32_t TileBucket(DType type, int32_t rows) {
  if (type == DType::kF32) return (rows + 5) / 6 * 6;
  return rows <= 16 ? rows : (rows + 7) / 8 * 8;
}

memory::data_type DnnlType(DType type) {
  return type == DType::kBF16 ? memory::data_type::bf16 : memory::data_type::f32;
}

// Makes the calling thread one that oneDNN runs single-threaded.
void DisableOpenMp() {
  thread_local bool done = false;
  if (!done) omp_set_num_threads(1);
  done = true;
}

// Equal slices of a weight's columns; the last may be cut short by out_features.
class DnnlWeight : public PackedWeight {
 public:
  DnnlWeight(int32_t in_features, int32_t out_features, int32_t slice_columns)
      : PackedWeight(in_features, out_features), slice_columns(slice_columns) {}

  size_t bytes() const override { return slices.size() * slice_bytes; }

  const int32_t slice_columns;  // a multiple of kColumnsMultiple
  std::string implementation;   // oneDNN's, of a whole tile
  size_t slice_bytes = 0;
  memory::desc slice_desc;
  std::vector<AlignedArray<char>> slices;
};

// One product of a slice with a tile of rows, with the arguments of each worker.
struct TileProduct {
  struct Arguments {
    memory x, w, y, scratch;
    AlignedArray<char> scratch_bytes;
    std::vector<dnnl_exec_arg_t> list;
  };
  int32_t rows = 0;  // at least those asked for
  dnnl::matmul primitive;
  std::vector<Arguments> workers;
};

}  // namespace

struct MatMulEngine::Impl {
  Impl(DType type, ThreadPool& pool) : type(type), pool(pool), workers(pool.num_threads()) {}

  struct Worker {
    AlignedArray<float> y;  // a tile's result, dense
    size_t y_count = 0;
  };

  dnnl::matmul::primitive_desc Describe(int32_t rows, const memory::desc& weight,
                                        int32_t in_features, int32_t columns) const {
    using tag = memory::format_tag;
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const memory::desc x({rows, in_features}, DnnlType(type), tag::ab);
    const memory::desc y({rows, columns}, memory::data_type::f32, tag::ab);
    return dnnl::matmul::primitive_desc(dnnl::matmul::desc(x, weight, y), attributes, engine);
  }

  TileProduct& Product(int32_t rows, const DnnlWeight& weight);
  void RunTile(const MatMulParams& params, const DnnlWeight& weight, TileProduct& product,
               const char* x, int32_t first_row, int32_t rows, int32_t slice, int worker);
  std::unique_ptr<PackedWeight> Pack(const bfloat16* weight, int32_t out_features,
                                     int32_t in_features);
  void Run(const MatMulParams& params);

  const DType type;
  ThreadPool& pool;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::map<std::tuple<int32_t, int32_t, int32_t>, TileProduct> products;
  std::vector<Worker> workers;
  std::vector<char> padded_x;
  std::string error;
  std::mutex error_mutex;
};

TileProduct& MatMulEngine::Impl::Product(int32_t rows, const DnnlWeight& weight) {
  const auto key = std::make_tuple(rows, weight.in_features(), weight.slice_columns);
  auto [it, is_new] = products.try_emplace(key);
  TileProduct& product = it->second;
  if (!is_new && !product.workers.empty()) return product;
  const auto describe = [&](int32_t tile_rows) {
    return Describe(tile_rows, weight.slice_desc, weight.in_features(), weight.slice_columns);
  };
  // For a few rows oneDNN may choose another implementation (AVX-512 instead of AMX), which adds in
  // another order; more rows take no longer then.
  auto description = describe(rows);
  while (rows < TileRows(type) && description.impl_info_str() != weight.implementation) {
    rows = TileBucket(type, rows + 1);
    description = describe(rows);
  }
  product.rows = rows;
  product.primitive = dnnl::matmul(description);
  for (size_t i = 0; i < workers.size(); ++i) {
    TileProduct::Arguments a;
    a.x = memory(description.src_desc(), engine, nullptr);
    a.w = memory(description.weights_desc(), engine, nullptr);
    a.y = memory(description.dst_desc(), engine, nullptr);
    a.scratch_bytes = MakeAlignedArray<char>(description.scratchpad_desc().get_size());
    a.scratch = memory(description.scratchpad_desc(), engine, a.scratch_bytes.get());
    a.list = {{DNNL_ARG_SRC, a.x.get()},
              {DNNL_ARG_WEIGHTS, a.w.get()},
              {DNNL_ARG_DST, a.y.get()},
              {DNNL_ARG_SCRATCHPAD, a.scratch.get()}};
    product.workers.push_back(std::move(a));
  }
  return product;
}

std::unique_ptr<PackedWeight> MatMulEngine::Impl::Pack(const bfloat16* weight, int32_t out_features,
                                                       int32_t in_features) {
  DisableOpenMp();
  const int32_t blocks = (out_features + kColumnsMultiple - 1) / kColumnsMultiple;
  const int32_t slice_blocks = (blocks + pool.num_threads() - 1) / pool.num_threads();
  auto packed =
      std::make_unique<DnnlWeight>(in_features, out_features, slice_blocks * kColumnsMultiple);
  const int32_t columns = packed->slice_columns;
  using tag = memory::format_tag;
  const auto tile = Describe(TileRows(type), {{in_features, columns}, DnnlType(type), tag::any},
                             in_features, columns);
  packed->implementation = tile.impl_info_str();
  packed->slice_desc = tile.weights_desc();
  packed->slice_bytes = packed->slice_desc.get_size();

  // [columns, in_features] of the slice, zero past out_features, read as its transpose.
  const memory::desc plain({in_features, columns}, DnnlType(type), tag::ba);
  const size_t plain_bytes = plain.get_size();
  const AlignedArray<char> source = MakeAlignedArray<char>(plain_bytes);
  if (source == nullptr) return nullptr;
  for (int32_t first = 0; first < out_features; first += columns) {
    const int64_t count = int64_t{std::min(columns, out_features - first)} * in_features;
    const bfloat16* rows = weight + int64_t{first} * in_features;
    std::memset(source.get(), 0, plain_bytes);
    if (type == DType::kBF16) {
      std::memcpy(source.get(), rows, count * sizeof(bfloat16));
    } else {
      float* out = reinterpret_cast<float*>(source.get());
      for (int64_t i = 0; i < count; ++i) out[i] = ToFloat(rows[i]);
    }
    packed->slices.push_back(MakeAlignedArray<char>(packed->slice_bytes));
    if (packed->slices.back() == nullptr) return nullptr;
    memory from(plain, engine, source.get());
    memory to(packed->slice_desc, engine, packed->slices.back().get());
    dnnl::reorder(from, to).execute(stream, from, to);
    stream.wait();
  }
  return packed;
}

void MatMulEngine::Impl::RunTile(const MatMulParams& p, const DnnlWeight& weight,
                                 TileProduct& product, const char* x, int32_t first_row,
                                 int32_t rows, int32_t slice, int worker) {
  DisableOpenMp();
  const int32_t columns = weight.slice_columns;
  const int32_t first_column = slice * columns;
  const int32_t used = std::min(columns, p.weight->out_features() - first_column);
  float* y = p.y + int64_t{first_row} * p.weight->out_features() + first_column;
  const bool direct = product.rows == 1 && used == columns && !p.accumulate;
  float* tile = direct ? y : workers[worker].y.get();

  TileProduct::Arguments& a = product.workers[worker];
  dnnl_memory_set_data_handle(a.x.get(), const_cast<char*>(x));
  dnnl_memory_set_data_handle(a.w.get(), weight.slices[slice].get());
  dnnl_memory_set_data_handle(a.y.get(), tile);
  const dnnl_status_t status = dnnl_primitive_execute(
      product.primitive.get(), stream.get(), static_cast<int>(a.list.size()), a.list.data());
  if (status != dnnl_success) {
    const std::lock_guard lock(error_mutex);
    error = "MatMul: oneDNN status " + std::to_string(status);
    return;
  }
  const float* bias = p.bias != nullptr ? p.bias + first_column : nullptr;
  for (int32_t i = 0; i < rows; ++i) {
    float* out = y + int64_t{i} * p.weight->out_features();
    float* in = tile + int64_t{i} * columns;
    if (bias != nullptr) {
      for (int32_t j = 0; j < used; ++j) in[j] += bias[j];
    }
    if (p.accumulate) {
      for (int32_t j = 0; j < used; ++j) out[j] += in[j];
    } else if (!direct) {
      std::memcpy(out, in, used * sizeof(float));
    }
  }
}

void MatMulEngine::Impl::Run(const MatMulParams& p) {
  if (p.tokens <= 0) return;
  DisableOpenMp();
  const DnnlWeight& weight = static_cast<const DnnlWeight&>(*p.weight);
  const size_t x_row = weight.in_features() * SizeOf(type);
  const int32_t tile_rows = TileRows(type);
  const int32_t tiles = (p.tokens + tile_rows - 1) / tile_rows;
  const int32_t slices = static_cast<int32_t>(weight.slices.size());
  const int32_t last_rows = p.tokens - (tiles - 1) * tile_rows;
  TileProduct* full = tiles > 1 ? &Product(tile_rows, weight) : nullptr;
  TileProduct& last = Product(TileBucket(type, last_rows), weight);

  const char* x = static_cast<const char*>(p.x);
  const char* last_x = x + (tiles - 1) * tile_rows * x_row;
  if (last.rows != last_rows) {
    padded_x.resize(last.rows * x_row);
    std::memcpy(padded_x.data(), last_x, last_rows * x_row);
    std::memset(padded_x.data() + last_rows * x_row, 0, (last.rows - last_rows) * x_row);
    last_x = padded_x.data();
  }
  for (Worker& worker : workers) {
    const size_t count = size_t{kMaxTileRows} * weight.slice_columns;
    if (worker.y_count >= count) continue;
    worker.y = MakeAlignedArray<float>(count);
    worker.y_count = worker.y == nullptr ? 0 : count;
    if (worker.y == nullptr) {
      error = "MatMul: out of memory";
      return;
    }
  }
  // Neighbouring tasks share a slice of the weight.
  pool.ParallelFor(tiles * slices, [&](int32_t task, int worker) {
    const int32_t slice = task / tiles, tile = task % tiles;
    const bool is_last = tile == tiles - 1;
    const int32_t first_row = tile * tile_rows;
    RunTile(p, weight, is_last ? last : *full, is_last ? last_x : x + first_row * x_row, first_row,
            is_last ? last_rows : tile_rows, slice, worker);
  });
}

MatMulEngine::MatMulEngine(DType type, ThreadPool& pool)
    : impl_(std::make_unique<Impl>(type, pool)) {}
MatMulEngine::~MatMulEngine() = default;

std::unique_ptr<PackedWeight> MatMulEngine::Pack(const bfloat16* weight, int32_t out_features,
                                                 int32_t in_features) {
  try {
    return impl_->Pack(weight, out_features, in_features);
  } catch (const std::exception& e) {  // dnnl::error, std::bad_alloc
    impl_->error = std::string("PackWeight: ") + e.what();
    return nullptr;
  }
}

void MatMulEngine::MatMul(const MatMulParams& params) {
  try {
    impl_->Run(params);
  } catch (const std::exception& e) {
    impl_->error = std::string("MatMul: ") + e.what();
  }
}

const std::string& MatMulEngine::error() const { return impl_->error; }

}  // namespace tidal::cpu
