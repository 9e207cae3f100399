#include "kernels/cuda/attention/decode.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "kernels/cuda/attention/decode_args.h"
#include "kernels/cuda/attention/decode_plan.h"
#include "kernels/cuda/launch.h"

namespace tidal::cuda {

using decode::Args;
using decode::DecodeItem;
using decode::Mode;

namespace {

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "decode attention (CUDA): %s\n", what);
  std::abort();
}

constexpr int32_t kHeadDims[] = {TIDAL_CUDA_HEAD_DIMS};  // of CMake, as 64, 128

template <int... kDims>
decode::KernelSet FindKernels(int32_t head_dim, std::integer_sequence<int, kDims...>) {
  decode::KernelSet found;
  ((head_dim == kDims ? void(found = decode::KernelsOfDim<kDims>()) : void()), ...);
  return found;
}

constexpr int64_t RoundUp(int64_t x, int64_t multiple) {
  return (x + multiple - 1) / multiple * multiple;
}

// Gives out pieces of one allocation; with a null base it only counts.
class Carver {
 public:
  explicit Carver(char* base) : base_(base) {}
  template <typename T>
  T* Take(int64_t count) {
    T* piece = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + used_);
    used_ += RoundUp(count * sizeof(T), 256);
    return piece;
  }
  size_t used() const { return used_; }

 private:
  char* base_;
  size_t used_ = 0;
};

}  // namespace

std::span<const int32_t> DecodeHeadDims() { return kHeadDims; }

std::string WhyUnsupportedHeadDim(int32_t head_dim) {
  if (head_dim < 16 || head_dim % 16 != 0 || head_dim > 256) {
    return "head_dim: must be a multiple of 16 up to 256 on a GPU, got " + std::to_string(head_dim);
  }
  std::string compiled, option;
  for (const int32_t dim : kHeadDims) {
    if (dim == head_dim) return "";
    compiled += (compiled.empty() ? "" : ", ") + std::to_string(dim);
    option += std::to_string(dim) + ";";
  }
  return "head_dim: must be one that this program has GPU kernels for (" + compiled + "), got " +
         std::to_string(head_dim) + "; -DTIDAL_CUDA_HEAD_DIMS=\"" + option +
         std::to_string(head_dim) + "\" of CMake brings them";
}

struct DecodeWorkspace::Buffers {
  BackendLimits limits{};
  // How kernels are launched.
  decode::KernelSet kernels;
  size_t shared_bytes = 0;
  int stages = 0;
  decode::SplitRule rule{};

  void* memory = nullptr;
  // Zeroed by Reserve.
  decode::ItemList dense{}, windowed{}, scoring{}, reuse{};
  int32_t* items_drawn = nullptr;
  int32_t* splits_done = nullptr;
  int32_t* scoring_order = nullptr;
  size_t zeroed_bytes = 0;
  // Written before they are read.
  float* partial_out = nullptr;
  float2* partial_sums = nullptr;
  SelectionScores scores{};

  // Places everything from `base` on, after PrepareKernels(). Returns the bytes taken.
  size_t Lay(const BackendLimits& of, char* base) {
    const int64_t items =
        rule.MaxItems(of.max_decode_rows, of.max_context_len, of.max_scored_tokens);
    const int64_t group = of.num_heads / of.num_kv_heads;
    const int64_t rows = of.max_decode_rows;
    Carver carver(base);
    for (decode::ItemList* list : {&dense, &windowed, &scoring, &reuse}) {
      *list = {carver.Take<DecodeItem>(items), carver.Take<int32_t>(1),
               carver.Take<decode::RowItems>(rows)};
    }
    items_drawn = carver.Take<int32_t>(1);
    splits_done = carver.Take<int32_t>(rows * of.num_kv_heads);
    scores.splits_scored = carver.Take<int32_t>(rows);
    scoring_order = carver.Take<int32_t>(rows);
    zeroed_bytes = carver.used();
    partial_out = carver.Take<float>(items * group * of.head_dim);
    partial_sums = carver.Take<float2>(items * group);
    const int64_t head_stride = ScoreStride(of.max_scored_tokens, of.max_decode_rows);
    scores.logits = carver.Take<__half>(of.num_heads * head_stride);
    scores.head_stride = head_stride;
    scores.scoring_order = scoring_order;
    scores.keys = carver.Take<uint32_t>(of.num_kv_heads * head_stride);
    return carver.used();
  }

  [[nodiscard]] bool PrepareKernels(DeviceContext& context);
};

bool DecodeWorkspace::Buffers::PrepareKernels(DeviceContext& context) {
  const int32_t group = limits.num_heads / limits.num_kv_heads;
  kernels = FindKernels(limits.head_dim, std::integer_sequence<int, TIDAL_CUDA_HEAD_DIMS>());
  if (kernels.kernels[0] == nullptr) Fail(WhyUnsupportedHeadDim(limits.head_dim).c_str());
  if (group < 1 || group > kMaxGroup) Fail("more than 16 query heads a KV head");
  if (limits.max_decode_rows > DecodeItem::kMaxRows ||
      limits.num_kv_heads > DecodeItem::kMaxKvHeads) {
    Fail("more rows or KV heads than an item can name");
  }
  stages = decode::PreferredStages(limits.head_dim);
  while (stages > decode::kMinStages &&
         decode::SharedBytes(limits.head_dim, group, limits.num_heads, stages) >
             context.max_shared_memory) {
    --stages;
  }
  shared_bytes = decode::SharedBytes(limits.head_dim, group, limits.num_heads, stages);
  if (shared_bytes > context.max_shared_memory) Fail("too little shared memory for this head_dim");
  int blocks_per_sm = 0;
  for (int mode = 0; mode < 3; ++mode) {
    const void* kernel = reinterpret_cast<const void*>(kernels.kernels[mode]);
    int blocks_of_mode = 0;
    if (!context.Check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                            static_cast<int>(shared_bytes)),
                       "decode attention") ||
        !context.Check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                            cudaSharedmemCarveoutMaxShared),
                       "decode attention") ||
        !context.Check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(
                           &blocks_of_mode, kernel, decode::kThreads, shared_bytes),
                       "decode attention")) {
      return false;
    }
    if (blocks_of_mode == 0) Fail("the kernel does not fit on this device");
    blocks_per_sm = mode == 0 ? blocks_of_mode : std::min(blocks_per_sm, blocks_of_mode);
  }
  rule = {blocks_per_sm * context.num_sms, limits.num_kv_heads};
  if (rule.MaxRowSplits(limits.max_context_len) > DecodeItem::kMaxSplits ||
      rule.MaxItems(limits.max_decode_rows, limits.max_context_len, limits.max_scored_tokens) >
          DecodeItem::kMaxResults) {
    Fail("more splits than an item can count");
  }
  return true;
}

DecodeWorkspace::DecodeWorkspace() : buffers_(std::make_unique<Buffers>()) {}

DecodeWorkspace::~DecodeWorkspace() {
  if (buffers_->memory != nullptr) cudaFree(buffers_->memory);
}

bool DecodeWorkspace::Reserve(const BackendLimits& limits, DeviceContext& context) {
  Buffers& b = *buffers_;
  if (b.memory != nullptr) Fail("reserved twice");
  b.limits = limits;
  if (!b.PrepareKernels(context)) return false;
  if (cudaMalloc(&b.memory, b.Lay(limits, nullptr)) != cudaSuccess) {
    cudaGetLastError();  // no memory is not a failure of the device
    b.memory = nullptr;
    return false;
  }
  b.Lay(limits, static_cast<char*>(b.memory));
  return context.Check(cudaMemsetAsync(b.memory, 0, b.zeroed_bytes, context.stream),
                       "decode attention");
}

SelectionScores DecodeWorkspace::scores() const { return buffers_->scores; }

void PlanDecode(const DecodeRows& rows, DecodeWorkspace& workspace, DeviceContext& context) {
  DecodeWorkspace::Buffers& b = workspace.buffers();
  if (rows.rows > b.limits.max_decode_rows) Fail("more rows than reserved for");
  b.scores.row_begins = rows.row_begins;
  decode::Plan({.rows = rows,
                .rule = b.rule,
                .window = b.limits.window,
                .dense = b.dense,
                .windowed = b.windowed,
                .scoring = b.scoring,
                .reuse = b.reuse,
                .scoring_order = b.scoring_order},
               context);
  context.next_launch_is_full = true;  // for what decode operations read early
}

namespace {

// What all modes have in common. `params`: PagedDecodeParams or SparseDecodeParams.
template <typename Params>
Args MakeArgs(const Params& params, const decode::ItemList& list,
              const DecodeWorkspace::Buffers& b) {
  const BackendLimits& limits = b.limits;
  if (params.kv.head_dim != limits.head_dim || params.kv.num_kv_heads != limits.num_kv_heads ||
      params.num_heads != limits.num_heads) {
    Fail("other heads than reserved for");
  }
  if (params.rows > limits.max_decode_rows) Fail("more rows than reserved for");
  if (params.max_context_len > limits.max_context_len) Fail("a longer context than reserved for");
  const int32_t block_size = params.kv.block_size;
  if (block_size != 16 && block_size != 32 && block_size != 64) Fail("block_size");
  constexpr double kLog2E = 1.4426950408889634;
  Args args{};
  args.q = params.q;
  args.k = params.kv.k;
  args.v = params.kv.v;
  args.blocks = params.tables.blocks;
  args.out = params.out;
  args.items = list.items;
  args.item_count = list.count;
  args.items_drawn = b.items_drawn;
  args.row_items = list.rows;
  args.rows = params.rows;
  args.partial_out = b.partial_out;
  args.partial_sums = b.partial_sums;
  args.splits_done = b.splits_done;
  args.scores = b.scores;
  args.table_stride = params.tables.stride;
  args.num_kv_heads = limits.num_kv_heads;
  args.group = limits.num_heads / limits.num_kv_heads;
  args.block_shift = std::countr_zero(static_cast<unsigned>(block_size));
  args.stages = b.stages;
  args.bf16_out = params.out_type == DType::kBF16;
  args.logit_scale = static_cast<float>(params.softmax_scale * kLog2E);
  return args;
}

// `max_tokens`: the longest row, at most.
void Run(const char* operation, Mode mode, const Args& args, int32_t rows, int32_t max_tokens,
         const DecodeWorkspace::Buffers& b, DeviceContext& context) {
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(
      b.rule.MaxItems(rows, max_tokens, b.limits.max_scored_tokens), b.rule.blocks));
  Launch(context, operation, b.kernels.kernels[static_cast<int>(mode)],
         {.grid = dim3(blocks), .block = dim3(decode::kThreads), .shared_bytes = b.shared_bytes},
         args);
}

}  // namespace

void PagedDecode(const PagedDecodeParams& params, DecodeWorkspace& workspace,
                 DeviceContext& context) {
  const DecodeWorkspace::Buffers& b = workspace.buffers();
  if (params.window != 0 && params.window != b.limits.window) Fail("another window");
  Run("PagedDecode", Mode::kDense, MakeArgs(params, params.window > 0 ? b.windowed : b.dense, b),
      params.rows, params.max_context_len, b, context);
}

void ScoringDecode(const PagedDecodeParams& params, const SelectTokensParams& select,
                   DecodeWorkspace& workspace, DeviceContext& context) {
  const DecodeWorkspace::Buffers& b = workspace.buffers();
  Args args = MakeArgs(params, b.scoring, b);
  args.rule = MakeSelectionRule(params, select);
  Run("ScoringDecode", Mode::kScoring, args, params.rows, params.max_context_len, b, context);
}

void SparseDecode(const SparseDecodeParams& params, DecodeWorkspace& workspace,
                  DeviceContext& context) {
  const DecodeWorkspace::Buffers& b = workspace.buffers();
  Args args = MakeArgs(params, b.reuse, b);
  const TokenSelection& selection = params.selection;
  args.slots = selection.slots;
  args.set_stride = selection.set_stride;
  args.num_sets =
      selection.granularity == SelectionGranularity::kShared ? 1 : params.kv.num_kv_heads;
  Run("SparseDecode", Mode::kSparse, args, params.rows, params.max_context_len, b, context);
}

}  // namespace tidal::cuda
