#include "tools/bench/kernel_bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tidal {
namespace {

constexpr int64_t kColdBytes = int64_t{256} << 20;  // several times a cache
// Calls of a graph: as many as a model has layers, so that what a step does once (the plan, the
// graph's launch, waiting for it) weighs what it weighs there.
constexpr int kCalls = 32;
constexpr int kMinCopies = 4;
constexpr int kRounds = 9;

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

int32_t Largest(const std::vector<int32_t>& values, int32_t least) {
  for (int32_t value : values) least = std::max(least, value);
  return least;
}

// Copies of a call's data, used in turn, so many that none is in a cache when its turn comes.
int CopiesFor(int64_t bytes_per_call) {
  return static_cast<int>(
      std::clamp<int64_t>(kColdBytes / std::max<int64_t>(bytes_per_call, 1), kMinCopies, kCalls));
}

class KernelBench {
 public:
  KernelBench(Backend& backend, const KernelBenchOptions& options,
              const std::function<void(const KernelResult&)>& report)
      : backend_(backend), o_(options), report_(report) {}
  ~KernelBench() {
    for (void* memory : owned_) backend_.Free(memory);
  }

  absl::Status Run();
  std::vector<KernelResult> TakeResults() { return std::move(results_); }

 private:
  template <typename T>
  T* Take(int64_t count);
  bfloat16* TakeRandom(int64_t count);
  template <typename T>
  T* Upload(const std::vector<T>& host);
  void Release(size_t mark);

  // Median seconds of a call of op(copy), where calls take turns with `copies` of their data.
  // begin() comes once before them all.
  absl::StatusOr<double> Time(
      int copies, const std::function<void(int)>& op, const std::function<void()>& begin = [] {});
  void Report(std::string operation, std::string shape, double seconds, double bytes,
              double flops = 0);

  // KV caches of a decode case; 0: the case does not fit.
  int CopiesOf(int32_t batch, int32_t context) const;
  int64_t LayerBytes(int32_t batch, int32_t context) const;
  // One piece of memory serves all cases: what is taken and given back again and again lies in
  // scattered pages, which cost a single long row 12 % on an H200.
  bool TakeKvCaches();
  PagedKvCache Layer(bfloat16* memory, int64_t num_blocks, int call) const;
  absl::Status Decode(int32_t batch, int32_t context);
  absl::Status Prefill(int32_t length);
  absl::Status MatMuls();
  absl::Status Sampling();

  Backend& backend_;
  const KernelBenchOptions& o_;
  const std::function<void(const KernelResult&)>& report_;
  std::vector<void*> owned_;
  bfloat16* kv_caches_ = nullptr;
  bool out_of_memory_ = false;
  GraphKey next_key_ = 1;
  uint64_t next_seed_ = 1;
  std::vector<KernelResult> results_;
};

template <typename T>
T* KernelBench::Take(int64_t count) {
  void* const memory = backend_.Allocate(count * sizeof(T));
  if (memory == nullptr) {
    out_of_memory_ = true;
    return nullptr;
  }
  owned_.push_back(memory);
  return static_cast<T*>(memory);
}

bfloat16* KernelBench::TakeRandom(int64_t count) {
  auto* const memory = Take<bfloat16>(count);
  if (memory != nullptr) backend_.FillRandom(memory, count, next_seed_++, 1);
  return memory;
}

template <typename T>
T* KernelBench::Upload(const std::vector<T>& host) {
  T* const memory = Take<T>(static_cast<int64_t>(host.size()));
  if (memory != nullptr) backend_.CopyToDevice(memory, host.data(), host.size() * sizeof(T));
  return memory;
}

void KernelBench::Release(size_t mark) {
  for (; owned_.size() > mark; owned_.pop_back()) backend_.Free(owned_.back());
}

absl::StatusOr<double> KernelBench::Time(int copies, const std::function<void(int)>& op,
                                         const std::function<void()>& begin) {
  if (out_of_memory_) return absl::ResourceExhaustedError("the device's memory is full");
  // Without graphs nothing is worth spreading, and calls may take seconds.
  const int calls = backend_.supports_graphs() ? kCalls : copies;
  const auto run_all = [&] {
    begin();
    for (int call = 0; call < calls; ++call) op(call % copies);
  };
  run_all();  // what the first call measures or compiles is not timed
  const GraphKey key = next_key_++;
  if (backend_.supports_graphs()) {
    backend_.BeginGraph(key);
    run_all();
    backend_.EndGraph();
  }
  std::vector<double> seconds;
  for (int round = 0; round < kRounds; ++round) {
    if (std::string error = backend_.Synchronize(); !error.empty()) {
      return absl::UnavailableError(error);
    }
    const auto start = std::chrono::steady_clock::now();
    if (!backend_.RunGraph(key)) run_all();
    if (std::string error = backend_.Synchronize(); !error.empty()) {
      return absl::UnavailableError(error);
    }
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    seconds.push_back(elapsed.count() / calls);
  }
  return Median(seconds);
}

void KernelBench::Report(std::string operation, std::string shape, double seconds, double bytes,
                         double flops) {
  KernelResult result;
  result.operation = std::move(operation);
  result.shape = std::move(shape);
  result.microseconds = seconds * 1e6;
  result.gigabytes_per_second = bytes / seconds / 1e9;
  result.bound_share = bytes / seconds / o_.read_bandwidth;
  result.teraflops = flops / seconds / 1e12;
  report_(result);
  results_.push_back(std::move(result));
}

PagedKvCache KernelBench::Layer(bfloat16* memory, int64_t num_blocks, int call) const {
  const int64_t elements = num_blocks * o_.num_kv_heads * o_.block_size * o_.head_dim;
  bfloat16* const k = memory + 2 * elements * call;
  return {k, k + elements, o_.num_kv_heads, o_.block_size, o_.head_dim};
}

int64_t KernelBench::LayerBytes(int32_t batch, int32_t context) const {
  const int64_t blocks = int64_t{(context + o_.block_size - 1) / o_.block_size} * batch;
  return blocks * o_.block_size * 2 * o_.num_kv_heads * o_.head_dim *
         static_cast<int64_t>(sizeof(bfloat16));
}

int KernelBench::CopiesOf(int32_t batch, int32_t context) const {
  const int64_t bytes = LayerBytes(batch, context);
  int32_t fewest_tokens = context;  // that an operation reads of a row
  for (int32_t budget : o_.token_budgets) fewest_tokens = std::min(fewest_tokens, budget);
  const int64_t fit = o_.max_kv_bytes / bytes;
  return fit < kMinCopies
             ? 0
             : static_cast<int>(std::min<int64_t>(CopiesFor(bytes / context * fewest_tokens), fit));
}

bool KernelBench::TakeKvCaches() {
  int64_t most = 0;
  for (int32_t context : o_.contexts) {
    for (int32_t batch : o_.batches) {
      most = std::max(most, LayerBytes(batch, context) * CopiesOf(batch, context));
    }
  }
  if (most == 0) return true;
  kv_caches_ = TakeRandom(most / static_cast<int64_t>(sizeof(bfloat16)));
  return kv_caches_ != nullptr;
}

absl::Status KernelBench::Decode(int32_t batch, int32_t context) {
  const size_t mark = owned_.size();
  const int32_t stride = (context + o_.block_size - 1) / o_.block_size;
  const int64_t num_blocks = int64_t{stride} * batch;
  const int64_t row_bytes = int64_t{2} * o_.num_kv_heads * o_.head_dim * sizeof(bfloat16);
  const int copies = CopiesOf(batch, context);
  if (copies == 0) return absl::OkStatus();

  std::vector<int32_t> blocks(num_blocks);
  std::iota(blocks.begin(), blocks.end(), 0);
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937(1));
  const int64_t q_size = int64_t{o_.num_heads} * o_.head_dim;
  bfloat16* const q = TakeRandom(q_size * batch * copies);
  PagedDecodeParams params = {};
  std::vector<int32_t> slots(batch), row_begins(batch);
  const int32_t row_tokens = (context + kScoreAlignment - 1) / kScoreAlignment * kScoreAlignment;
  for (int32_t row = 0; row < batch; ++row) {
    slots[row] = row;
    row_begins[row] = row * row_tokens;
  }
  params.tables = {Upload(blocks), stride, Upload(slots),
                   Upload(std::vector<int32_t>(batch, context))};
  params.out = Take<bfloat16>(q_size * batch);
  params.out_type = DType::kBF16;
  params.rows = batch;
  params.num_heads = o_.num_heads;
  params.max_context_len = context;
  params.softmax_scale = 1 / std::sqrt(static_cast<float>(o_.head_dim));
  const auto rows_of = [&](int copy) {
    PagedDecodeParams rows = params;
    rows.q = q + q_size * batch * copy;
    rows.kv = Layer(kv_caches_, num_blocks, copy);
    return rows;
  };
  const int32_t* const begins = Upload(row_begins);
  const auto plan = [&](const int32_t* budgets) {
    return [this, &params, begins, budgets] {
      backend_.PlanDecode(
          {params.tables.sequence_slots, params.tables.context_lens, budgets, begins, params.rows});
    };
  };
  const std::string shape = absl::StrCat("batch ", batch, ", context ", context);
  const int32_t* const dense = Upload(std::vector<int32_t>(batch, 0));
  const double bytes = static_cast<double>(row_bytes) * batch * context;
  absl::StatusOr<double> seconds = Time(
      copies, [&](int copy) { backend_.PagedDecode(rows_of(copy)); }, plan(dense));
  if (!seconds.ok()) return seconds.status();
  Report("paged_decode", shape, *seconds, bytes);

  const int32_t sets = o_.granularity == SelectionGranularity::kShared ? 1 : o_.num_kv_heads;
  const int64_t set_stride = int64_t{batch} * row_tokens;
  const TokenSelection selection = {Take<int32_t>(sets * set_stride),
                                    Take<int32_t>(sets * set_stride),
                                    Take<int32_t>(int64_t{batch} * sets),
                                    begins,
                                    set_stride,
                                    o_.granularity};
  for (int32_t budget : o_.token_budgets) {
    if (budget >= context) continue;
    const int32_t* const budgets = Upload(std::vector<int32_t>(batch, budget));
    const int32_t* const recency = Upload(std::vector<int32_t>(batch, budget / 4));
    const std::string sparse_shape = absl::StrCat(shape, ", budget ", budget);
    const SelectTokensParams select = {selection, budgets, recency, 4, SelectionScore::kSoftmaxSum};
    seconds = Time(
        copies,
        [&](int copy) {
          const PagedDecodeParams rows = rows_of(copy);
          backend_.ScoringDecode(rows, select);
          backend_.SelectTokens(rows, select);
        },
        plan(budgets));
    if (!seconds.ok()) return seconds.status();
    Report("selecting_decode", sparse_shape, *seconds, bytes);
    // Over what the last of these calls selected.
    const auto sparse = [&](int copy) {
      const PagedDecodeParams rows = rows_of(copy);
      backend_.SparseDecode({rows.q, rows.kv, rows.tables, budgets, selection, rows.out,
                             rows.out_type, batch, rows.num_heads, context, rows.softmax_scale});
    };
    seconds = Time(copies, sparse, plan(budgets));
    if (!seconds.ok()) return seconds.status();
    Report("sparse_decode", sparse_shape, *seconds,
           static_cast<double>(row_bytes) * batch * budget);
  }
  Release(mark);
  return absl::OkStatus();
}

absl::Status KernelBench::Prefill(int32_t length) {
  const size_t mark = owned_.size();
  const int32_t stride = (length + o_.block_size - 1) / o_.block_size;
  std::vector<int32_t> blocks(stride);
  std::iota(blocks.begin(), blocks.end(), 0);
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937(1));
  const int64_t elements = int64_t{2} * stride * o_.num_kv_heads * o_.block_size * o_.head_dim;
  const int64_t q_size = int64_t{o_.num_heads} * o_.head_dim * length;
  PrefillAttentionParams params = {};
  params.q = TakeRandom(q_size);
  params.kv = Layer(TakeRandom(elements), stride, 0);
  params.tables = {Upload(blocks), stride, Upload(std::vector<int32_t>{0}),
                   Upload(std::vector<int32_t>{length})};
  params.cu_query_lens = Upload(std::vector<int32_t>{0, length});
  params.out = Take<bfloat16>(q_size);
  params.out_type = DType::kBF16;
  params.num_sequences = 1;
  params.num_heads = o_.num_heads;
  params.max_query_len = params.max_context_len = length;
  params.softmax_scale = 1 / std::sqrt(static_cast<float>(o_.head_dim));
  const absl::StatusOr<double> seconds =
      Time(1, [&](int /*copy*/) { backend_.PrefillAttention(params); });
  if (!seconds.ok()) return seconds.status();
  const double flops = 2.0 * o_.num_heads * o_.head_dim * length * length;  // half is masked
  Report("prefill_attention", absl::StrCat("tokens ", length), *seconds,
         static_cast<double>(elements) * sizeof(bfloat16), flops);
  Release(mark);
  return absl::OkStatus();
}

absl::Status KernelBench::MatMuls() {
  const int32_t kv_size = 2 * o_.num_kv_heads * o_.head_dim, q_size = o_.num_heads * o_.head_dim;
  const struct {
    const char* name;
    int32_t out, in;
    bool accumulate;
  } shapes[] = {{"qkv", q_size + kv_size, o_.hidden, false},
                {"o", o_.hidden, q_size, true},
                {"gate_up", 2 * o_.intermediate, o_.hidden, false},
                {"down", o_.hidden, o_.intermediate, true},
                {"lm_head", o_.vocab, o_.hidden, false}};
  const int32_t most_rows = Largest(o_.matmul_rows, 1);
  for (const auto& shape : shapes) {
    const size_t mark = owned_.size();
    const int64_t bytes = int64_t{shape.out} * shape.in * static_cast<int64_t>(sizeof(bfloat16));
    const int copies = CopiesFor(bytes);
    std::vector<std::unique_ptr<PackedWeight>> weights;
    for (int i = 0; i < copies; ++i) {
      weights.push_back(backend_.PackRandomWeight(shape.out, shape.in, next_seed_++,
                                                  1 / std::sqrt(static_cast<float>(shape.in))));
      if (weights.back() == nullptr) return absl::ResourceExhaustedError("no memory for weights");
    }
    const bfloat16* const x = TakeRandom(int64_t{most_rows} * shape.in);
    float* const y = Take<float>(int64_t{most_rows} * shape.out);
    for (int32_t rows : o_.matmul_rows) {
      const absl::StatusOr<double> seconds = Time(copies, [&](int copy) {
        backend_.MatMul({weights[copy].get(), x, y, rows, shape.accumulate});
      });
      if (!seconds.ok()) return seconds.status();
      Report("matmul", absl::StrCat(shape.name, " ", shape.out, " x ", shape.in, ", rows ", rows),
             *seconds, static_cast<double>(bytes), 2.0 * rows * shape.out * shape.in);
    }
    Release(mark);
  }
  return absl::OkStatus();
}

absl::Status KernelBench::Sampling() {
  const size_t mark = owned_.size();
  const int32_t most_rows = Largest(o_.matmul_rows, 1);
  // Random bits of bf16 pairs are no logits: float logits come from a matrix product's output.
  const int32_t in = 256;
  const auto head = backend_.PackRandomWeight(o_.vocab, in, next_seed_++, 0.25f);
  const bfloat16* const x = TakeRandom(int64_t{most_rows} * in);
  float* const logits = Take<float>(int64_t{most_rows} * o_.vocab);
  if (head == nullptr || out_of_memory_)
    return absl::ResourceExhaustedError("no memory for logits");
  std::vector<int32_t> first_rows(most_rows);
  std::iota(first_rows.begin(), first_rows.end(), 0);
  SampleParams params = {};
  params.logits = logits;
  params.sequence_slots = Upload(first_rows);
  params.generated = Take<int32_t>(most_rows);
  params.slots.counts = Take<TokenCount>(int64_t{most_rows} * o_.vocab);
  params.slots.last_tokens = Take<int32_t>(most_rows);
  params.token_ids = Take<int32_t>(most_rows);
  params.logprobs = Take<float>(most_rows);
  params.vocab = o_.vocab;
  SamplingSettings greedy = {}, nucleus = {};
  for (SamplingSettings* settings : {&greedy, &nucleus}) {
    settings->top_p = 1;
    settings->repetition_penalty = 1;
  }
  nucleus.temperature = 0.8f;
  nucleus.top_k = 50;
  nucleus.top_p = 0.95f;
  for (const auto& [name, settings] :
       {std::pair("greedy", greedy), std::pair("top-k top-p", nucleus)}) {
    params.slots.settings = Upload(std::vector<SamplingSettings>(most_rows, settings));
    for (int32_t rows : o_.matmul_rows) {
      params.num_rows = rows;
      backend_.MatMul({head.get(), x, logits, rows, false});
      const absl::StatusOr<double> seconds =
          Time(1, [&](int /*copy*/) { backend_.Sample(params); });
      if (!seconds.ok()) return seconds.status();
      Report("sample", absl::StrCat(name, ", rows ", rows), *seconds,
             static_cast<double>(rows) * o_.vocab * sizeof(float));
    }
  }
  Release(mark);
  return absl::OkStatus();
}

absl::Status KernelBench::Run() {
  BackendLimits limits = {};
  limits.max_tokens = Largest(o_.prefill_lengths, 8192);
  limits.max_decode_rows = Largest(o_.matmul_rows, Largest(o_.batches, 1));
  limits.max_context_len = Largest(o_.prefill_lengths, Largest(o_.contexts, 1));
  limits.num_heads = o_.num_heads;
  limits.num_kv_heads = o_.num_kv_heads;
  limits.head_dim = o_.head_dim;
  limits.vocab_size = o_.vocab;
  limits.block_size = o_.block_size;
  limits.max_scored_tokens = int64_t{limits.max_context_len} * limits.max_decode_rows;
  if (!backend_.Reserve(limits)) return absl::ResourceExhaustedError("no memory for scratch");
  if (!TakeKvCaches()) return absl::ResourceExhaustedError("no memory for KV caches");
  for (int32_t context : o_.contexts) {
    for (int32_t batch : o_.batches) {
      if (absl::Status status = Decode(batch, context); !status.ok()) return status;
    }
  }
  Release(0);
  for (int32_t length : o_.prefill_lengths) {
    if (absl::Status status = Prefill(length); !status.ok()) return status;
  }
  if (o_.matmul_rows.empty()) return absl::OkStatus();
  if (absl::Status status = MatMuls(); !status.ok()) return status;
  return Sampling();
}

}  // namespace

absl::StatusOr<std::vector<KernelResult>> RunKernelBench(
    Backend& backend, const KernelBenchOptions& options,
    const std::function<void(const KernelResult&)>& report) {
  KernelBench bench(backend, options, report);
  if (absl::Status status = bench.Run(); !status.ok()) return status;
  return bench.TakeResults();
}

}  // namespace tidal
