#include "kernels/cuda/attention/prefill_cudnn.h"

#include <cudnn_frontend.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernels/cuda/attention/cudnn_library.h"
#include "kernels/cuda/attention/gather_context.h"
#include "kernels/cuda/attention/prefill_cudnn_inputs.h"

namespace tidal::cuda {
namespace {

namespace fe = cudnn_frontend;
using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;

// Up to this context a long chunk's K and V are first copied out of their pages: cuDNN is then
// faster by 8 % (538 against 498 TFLOP/s at 16,384 tokens), and the copy costs a hundredth of it.
constexpr int32_t kMaxGatheredContext = 1 << 18;
// The short plan: chunks of one call, and tokens of each. Plans are launched for their full size;
// blocks without work cost about a microsecond each.
constexpr int32_t kShortBatch = 8;
constexpr int32_t kShortQueryLen = 1024;
// The caches' true number of blocks is not known here, and cuDNN takes no more from it than a
// bound.
constexpr int64_t kAnyNumBlocks = int64_t{1} << 24;
constexpr int64_t kMaxWorkspaceBytes = int64_t{1} << 28;

// Names of the tensors of a plan.
enum Uid : int64_t {
  kQ = 1,
  kK,
  kV,
  kOut,
  kQueryLens,
  kContextLens,
  kRowOffsets,
  kPageTableK,
  kPageTableV,
  kScale
};

struct Heads {
  int32_t num_heads, num_kv_heads, head_dim, block_size;
  bool operator==(const Heads&) const = default;
};

// Causal attention of `batch` chunks of up to `query_len` tokens.
struct Plan {
  int32_t batch = 0, query_len = 0;
  int32_t pages = 0;     // blocks of a context, which stay where they are; or
  int32_t capacity = 0;  // tokens of a context that lies in one piece, when not 0
  std::shared_ptr<fe::graph::Graph> graph;
  int64_t workspace_bytes = 0;

  std::string Build(const Heads& heads, cudnnHandle_t handle);
};

std::string Plan::Build(const Heads& heads, cudnnHandle_t handle) {
  using fe::DataType_t;
  graph = std::make_shared<fe::graph::Graph>();
  graph->set_io_data_type(DataType_t::BFLOAT16)
      .set_intermediate_data_type(DataType_t::FLOAT)
      .set_compute_data_type(DataType_t::FLOAT);
  const auto tensor = [&](Uid uid, DataType_t type, const std::vector<int64_t>& dim,
                          const std::vector<int64_t>& stride) {
    return graph->tensor(
        fe::graph::Tensor_attributes().set_uid(uid).set_data_type(type).set_dim(dim).set_stride(
            stride));
  };
  const int64_t b = batch, h = heads.num_heads, kv = heads.num_kv_heads, d = heads.head_dim;
  const int64_t block = heads.block_size;
  const std::vector<int64_t> q_dim = {b, h, query_len, d};
  const std::vector<int64_t> q_stride = {query_len * h * d, d, h * d, 1};
  const int64_t piece = capacity > 0 ? capacity : block;  // tokens that lie together
  const std::vector<int64_t> kv_dim = {capacity > 0 ? b : kAnyNumBlocks, kv, piece, d};
  const std::vector<int64_t> kv_stride = {kv * piece * d, piece * d, d, 1};
  const std::vector<int64_t> ones = {1, 1, 1, 1};

  const Tensor q = tensor(kQ, DataType_t::BFLOAT16, q_dim, q_stride);
  const Tensor k = tensor(kK, DataType_t::BFLOAT16, kv_dim, kv_stride);
  const Tensor v = tensor(kV, DataType_t::BFLOAT16, kv_dim, kv_stride);
  const Tensor row_offsets = tensor(kRowOffsets, DataType_t::INT32, {b + 1, 1, 1, 1}, ones);
  q->set_ragged_offset(row_offsets);
  const Tensor scale = graph->tensor(fe::graph::Tensor_attributes()
                                         .set_uid(kScale)
                                         .set_data_type(DataType_t::FLOAT)
                                         .set_dim(ones)
                                         .set_stride(ones)
                                         .set_is_pass_by_value(true));
  auto options = fe::graph::SDPA_attributes();
  options.set_name("prefill")
      .set_generate_stats(false)
      .set_attn_scale(scale)
      .set_padding_mask(true)
      .set_seq_len_q(tensor(kQueryLens, DataType_t::INT32, {b, 1, 1, 1}, ones))
      .set_seq_len_kv(tensor(kContextLens, DataType_t::INT32, {b, 1, 1, 1}, ones))
      .set_causal_mask_bottom_right(true);
  if (capacity == 0) {
    options
        .set_paged_attention_k_table(
            tensor(kPageTableK, DataType_t::INT32, {b, 1, pages, 1}, {pages, pages, 1, 1}))
        .set_paged_attention_v_table(
            tensor(kPageTableV, DataType_t::INT32, {b, 1, pages, 1}, {pages, pages, 1, 1}))
        .set_paged_attention_max_seq_len_kv(static_cast<int>(pages * block));
  }
  const auto [out, statistics] = graph->sdpa(q, k, v, options);
  out->set_output(true).set_uid(kOut).set_dim(q_dim).set_stride(q_stride);
  out->set_ragged_offset(row_offsets);

  fe::error_t error = graph->validate();
  if (error.is_good()) error = graph->build_operation_graph(handle);
  if (error.is_good()) error = graph->create_execution_plans({fe::HeurMode_t::A});
  if (error.is_good()) error = graph->check_support(handle);
  if (error.is_good()) {
    error = graph->build_plans(handle, fe::BuildPlanPolicy_t::HEURISTICS_CHOICE);
  }
  if (error.is_good()) error = graph->get_workspace_size(workspace_bytes);
  if (error.is_bad()) return "no plan: " + error.get_message();
  if (workspace_bytes > kMaxWorkspaceBytes) {
    return "a plan wants " + std::to_string(workspace_bytes >> 20) + " MiB of workspace";
  }
  return "";
}

class Cudnn final : public CudnnPrefill {
 public:
  Cudnn(DeviceContext& context, cudnnHandle_t handle) : context_(context), handle_(handle) {
    const size_t v = cudnnGetVersion();
    version_ = std::to_string(v / 10000) + "." + std::to_string(v / 100 % 100) + "." +
               std::to_string(v % 100);
  }
  ~Cudnn() override {
    long_ = {};
    short_ = {};
    cudnnDestroy(handle_);
    cudaFree(scratch_);
  }

  std::string Reserve(const BackendLimits& limits, bool* out_of_memory) override;
  bool Supports(const PrefillAttentionParams& p) const override;
  bool Run(const PrefillAttentionParams& params) override;
  const std::string& version() const override { return version_; }

 private:
  bool RunPlan(const PrefillAttentionParams& params, int32_t first, const Plan& plan);

  DeviceContext& context_;
  const cudnnHandle_t handle_;
  std::string version_;
  Heads heads_ = {};
  int32_t pages_ = 0;
  Plan long_, short_;
  void* scratch_ = nullptr;
  CudnnPrefillInputs inputs_ = {};  // batch: of the larger plan
  GatheredContext gathered_ = {};   // of the long plan, if it wants one
  void* workspace_ = nullptr;
};

std::string Cudnn::Reserve(const BackendLimits& limits, bool* out_of_memory) {
  *out_of_memory = false;
  heads_ = {limits.num_heads, limits.num_kv_heads, limits.head_dim, limits.block_size};
  if (limits.head_dim != 64 && limits.head_dim != 128) return "head_dim is not 64 or 128";
  if (int64_t{limits.max_tokens} * limits.num_heads * limits.head_dim > INT32_MAX) {
    return "a step of 2^31 elements";
  }
  pages_ = (limits.max_context_len + limits.block_size - 1) / limits.block_size;
  long_.batch = 1;
  long_.query_len = std::max(limits.max_tokens, 2);  // 1 would make a decode plan
  short_.batch = kShortBatch;
  short_.query_len = std::clamp(limits.max_tokens, 2, kShortQueryLen);
  long_.pages = short_.pages = pages_;
  if (limits.max_context_len <= kMaxGatheredContext) {
    long_.capacity = (limits.max_context_len + 255) / 256 * 256;  // whole tiles
  }
  for (Plan* plan : {&long_, &short_}) {
    const std::string reason = plan->Build(heads_, handle_);
    if (!reason.empty()) return reason;
  }

  // Parts of the scratch memory, each aligned to 256 bytes.
  const auto aligned = [](int64_t bytes) { return (bytes + 255) / 256 * 256; };
  const int64_t lens_bytes = aligned((kShortBatch + 1) * sizeof(int32_t));
  const int64_t table_bytes = aligned(int64_t{kShortBatch} * pages_ * sizeof(int32_t));
  const int64_t workspace_bytes = std::max(long_.workspace_bytes, short_.workspace_bytes);
  const int64_t gathered_bytes = int64_t{heads_.num_kv_heads} * long_.capacity * heads_.head_dim *
                                 static_cast<int64_t>(sizeof(bfloat16));
  const int64_t total_bytes = 3 * lens_bytes + table_bytes + 2 * gathered_bytes + workspace_bytes;
  if (cudaMalloc(&scratch_, total_bytes) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    scratch_ = nullptr;
    *out_of_memory = true;
    return "out of memory";
  }
  // A table entry is a valid block from the start.
  context_.Check(cudaMemsetAsync(scratch_, 0, total_bytes, context_.stream), "PrefillAttention");
  char* next = static_cast<char*>(scratch_);
  inputs_.query_lens = reinterpret_cast<int32_t*>(std::exchange(next, next + lens_bytes));
  inputs_.context_lens = reinterpret_cast<int32_t*>(std::exchange(next, next + lens_bytes));
  inputs_.row_offsets = reinterpret_cast<int32_t*>(std::exchange(next, next + lens_bytes));
  inputs_.page_table = reinterpret_cast<int32_t*>(std::exchange(next, next + table_bytes));
  inputs_.pages = pages_;
  gathered_.k = reinterpret_cast<bfloat16*>(std::exchange(next, next + gathered_bytes));
  gathered_.v = reinterpret_cast<bfloat16*>(std::exchange(next, next + gathered_bytes));
  gathered_.capacity = long_.capacity;
  workspace_ = next;
  if (cudnnSetStream(handle_, context_.stream) != CUDNN_STATUS_SUCCESS) {
    return "cudnnSetStream failed";
  }
  return "";
}

bool Cudnn::Supports(const PrefillAttentionParams& p) const {
  const Heads heads = {p.num_heads, p.kv.num_kv_heads, p.kv.head_dim, p.kv.block_size};
  return scratch_ != nullptr && p.window == 0 && heads == heads_ && p.out_type == DType::kBF16 &&
         p.max_query_len <= long_.query_len &&
         p.max_context_len <= int64_t{pages_} * heads_.block_size;
}

bool Cudnn::Run(const PrefillAttentionParams& params) {
  const bool is_short = params.num_sequences > 1 && params.max_query_len <= short_.query_len;
  const Plan& plan = is_short ? short_ : long_;
  for (int32_t first = 0; first < params.num_sequences; first += plan.batch) {
    if (!RunPlan(params, first, plan)) return false;
  }
  return true;
}

bool Cudnn::RunPlan(const PrefillAttentionParams& params, int32_t first, const Plan& plan) {
  CudnnPrefillInputs inputs = inputs_;
  inputs.batch = plan.batch;
  MakeCudnnPrefillInputs(params, first, inputs, context_);
  float scale = params.softmax_scale;
  std::unordered_map<int64_t, void*> tensors = {{kQ, const_cast<bfloat16*>(params.q)},
                                                {kK, params.kv.k},
                                                {kV, params.kv.v},
                                                {kOut, params.out},
                                                {kQueryLens, inputs.query_lens},
                                                {kContextLens, inputs.context_lens},
                                                {kRowOffsets, inputs.row_offsets},
                                                {kScale, &scale}};
  if (plan.capacity > 0) {
    GatherContext(params, first, gathered_, context_);
    tensors[kK] = gathered_.k;
    tensors[kV] = gathered_.v;
  } else {
    tensors[kPageTableK] = tensors[kPageTableV] = inputs.page_table;
  }
  return plan.graph->execute(handle_, tensors, workspace_).is_good();
}

}  // namespace

std::unique_ptr<CudnnPrefill> CudnnPrefill::Make(DeviceContext& context, std::string* reason) {
  if (context.compute_capability < 90) {
    *reason = "cuDNN is used on sm_90 and later";
    return nullptr;
  }
  if (!LoadCudnn(reason)) return nullptr;
  cudnnHandle_t handle = nullptr;
  const cudnnStatus_t status = cudnnCreate(&handle);
  if (status != CUDNN_STATUS_SUCCESS) {
    *reason = std::string("cudnnCreate: ") + cudnnGetErrorString(status);
    return nullptr;
  }
  return std::make_unique<Cudnn>(context, handle);
}

}  // namespace tidal::cuda
