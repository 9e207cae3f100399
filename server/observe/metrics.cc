#include "server/observe/metrics.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "prometheus/text_serializer.h"

namespace tidal {
namespace {

using Buckets = std::vector<double>;

// vLLM's buckets, in seconds; the per-token ones go on below 10 ms, where vLLM's begin.
const Buckets kFirstTokenBuckets = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                    1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
const Buckets kPerTokenBuckets = {.001, .0025, .005, .0075, .01, .025, .05, .075, .1, .15, .2, .3,
                                  .4,   .5,    .75,  1,     2.5, 5,    7.5, 10,   20, 40,  80};
const Buckets kRequestBuckets = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
const Buckets kStepBuckets = {.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10};
const Buckets kIterationTokenBuckets = {1,   8,    16,   32,   64,   128,  256,
                                        512, 1024, 2048, 4096, 8192, 16384};
const Buckets kOutputCountBuckets = {1, 2, 5, 10, 20};
const Buckets kPreemptionBuckets = {0, 1, 2, 3, 4, 5, 10, 20, 50, 100};
const Buckets kResidencyBuckets = {.001, .002, .005, .01, .02, .05, .1,  .2,  .5,   1,   2,
                                   5,    10,   20,   30,  60,  120, 300, 600, 1200, 1800};

// 1, 2, 5, 10, 20, 50 ... and max.
Buckets OneTwoFiveBuckets(int32_t max) {
  Buckets buckets;
  for (int64_t decade = 1; decade <= max; decade *= 10) {
    for (int64_t step : {1, 2, 5}) {
      if (decade * step <= max) buckets.push_back(static_cast<double>(decade * step));
    }
  }
  if (buckets.empty() || buckets.back() != max) buckets.push_back(max);
  return buckets;
}

double Between(absl::Time from, absl::Time to) {
  return std::max(0.0, absl::ToDoubleSeconds(to - from));
}

// A histogram that is observed for each token: prometheus::Histogram takes a lock for that.
class LockFreeHistogram {
 public:
  LockFreeHistogram(std::string name, std::string help, Buckets buckets,
                    const prometheus::Labels& labels)
      : name_(std::move(name)),
        help_(std::move(help)),
        bounds_(std::move(buckets)),
        labels_(labels),
        counts_(bounds_.size() + 1) {}

  void Observe(double value, uint64_t times) {
    const auto bound = std::lower_bound(bounds_.begin(), bounds_.end(), value);
    counts_[bound - bounds_.begin()].fetch_add(times, std::memory_order_relaxed);
    sum_.fetch_add(value * static_cast<double>(times), std::memory_order_relaxed);
  }

  prometheus::MetricFamily Collect() const {
    prometheus::ClientMetric metric;
    for (const auto& [name, value] : labels_) metric.label.push_back({name, value});
    prometheus::ClientMetric::Histogram& histogram = metric.histogram;
    for (size_t i = 0; i < counts_.size(); ++i) {
      histogram.sample_count += counts_[i].load(std::memory_order_relaxed);
      const double bound =
          i < bounds_.size() ? bounds_[i] : std::numeric_limits<double>::infinity();
      histogram.bucket.push_back({histogram.sample_count, bound});
    }
    histogram.sample_sum = sum_.load(std::memory_order_relaxed);
    prometheus::MetricFamily family;
    family.name = name_;
    family.help = help_;
    family.type = prometheus::MetricType::Histogram;
    family.metric.push_back(std::move(metric));
    return family;
  }

 private:
  const std::string name_, help_;
  const Buckets bounds_;
  const prometheus::Labels labels_;
  std::vector<std::atomic<uint64_t>> counts_;
  std::atomic<double> sum_{0};
};

}  // namespace

class Metrics::Impl {
 public:
  explicit Impl(const MetricsOptions& options)
      : labels{{"model_name", options.model_name}, {"engine", "0"}},
        token_buckets(OneTwoFiveBuckets(options.max_model_len)) {
    prometheus::Labels cache = labels;
    cache["block_size"] = absl::StrCat(options.block_size);
    cache["num_gpu_blocks"] = absl::StrCat(options.num_blocks);
    const int64_t tokens = int64_t{options.num_blocks} * options.block_size;
    cache["kv_cache_size_tokens"] = absl::StrCat(tokens);
    cache["kv_cache_max_concurrency"] =
        absl::StrCat(static_cast<double>(tokens) / std::max(options.max_model_len, 1));
    cache["enable_prefix_caching"] = options.enable_prefix_caching ? "True" : "False";
    prometheus::BuildGauge()
        .Name("vllm:cache_config_info")
        .Help("The KV cache, in the labels.")
        .Register(registry)
        .Add(cache)
        .Set(1);
    for (size_t rank = 0; rank < options.memory.size(); ++rank) {
      const MemoryUse& use = options.memory[rank];
      const std::pair<const char*, int64_t> parts[] = {
          {"weights", use.weights},   {"scratch", use.scratch}, {"graphs", use.graphs},
          {"kv_cache", use.kv_cache}, {"others", use.others},   {"free", use.free()}};
      for (const auto& [part, bytes] : parts) {
        Gauge("tidal:device_memory_bytes",
              "Memory of each rank's device when the server started, by what has it.",
              {{"rank", absl::StrCat(rank)}, {"part", part}})
            .Set(static_cast<double>(bytes));
      }
    }
  }

  prometheus::Counter& Counter(const char* name, const char* help, prometheus::Labels more = {}) {
    more.insert(labels.begin(), labels.end());
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(more);
  }
  prometheus::Gauge& Gauge(const char* name, const char* help, prometheus::Labels more = {}) {
    more.insert(labels.begin(), labels.end());
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add(more);
  }
  prometheus::Histogram& Histogram(const char* name, const char* help, const Buckets& buckets) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add(labels,
                                                                                     buckets);
  }
  prometheus::Counter& Success(const char* reason) {
    return Counter("vllm:request_success_total", "Outputs that ended, by reason.",
                   {{"finished_reason", reason}});
  }

  // vLLM's has no engine.
  prometheus::Counter& AdmissionRejections(const char* reason) {
    return prometheus::BuildCounter()
        .Name("vllm:admission_rejections_total")
        .Help("Requests refused because too much waits, by the limit.")
        .Register(registry)
        .Add({{"model_name", labels.at("model_name")}, {"reason", reason}});
  }
  prometheus::Counter& PromptBySource(const char* source) {
    return Counter("vllm:prompt_tokens_by_source_total",
                   "Prompt tokens of outputs whose first token has come, by where their keys and "
                   "values came from.",
                   {{"source", source}});
  }

  prometheus::Counter& RefusedCounter(const char* reason) {
    return Counter("tidal:requests_refused_total", "Requests that were not begun, by reason.",
                   {{"reason", reason}});
  }

  prometheus::Registry registry{prometheus::Registry::InsertBehavior::Merge};
  const prometheus::Labels labels;
  const Buckets token_buckets;

  // State of the loop.
  prometheus::Gauge& running =
      Gauge("vllm:num_requests_running", "Sequences that hold KV cache blocks.");
  prometheus::Gauge& waiting = Gauge("vllm:num_requests_waiting", "Sequences that wait to run.");
  prometheus::Gauge& waiting_for_capacity =
      Gauge("vllm:num_requests_waiting_by_reason", "Sequences that wait to run, by reason.",
            {{"reason", "capacity"}});
  prometheus::Gauge& kv_usage =
      Gauge("vllm:kv_cache_usage_perc", "Share of the KV cache in use; 1 is all of it.");
  prometheus::Counter& preemptions =
      Counter("vllm:num_preemptions_total", "Sequences that gave up their blocks to others.");
  prometheus::Counter& prefix_queries =
      Counter("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.");
  prometheus::Counter& prefix_hits =
      Counter("vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.");
  prometheus::Gauge& queued_tokens =
      Gauge("tidal:queued_tokens", "Tokens, of prompts and of likely outputs, that wait to run.");
  prometheus::Gauge& queued_tokens_limit =
      Gauge("tidal:queued_tokens_limit", "Tokens that may wait; requests beyond are refused.");
  prometheus::Gauge& full_load_rate =
      Gauge("tidal:full_load_tokens_per_second",
            "Tokens served a second while something waits, as last measured; 0 = not yet.");
  prometheus::Gauge& retry_after =
      Gauge("tidal:retry_after_seconds", "What a request refused now is told to wait.");
  prometheus::Counter& rejected_requests = AdmissionRejections("max_num_queued_reqs");
  prometheus::Counter& rejected_tokens = AdmissionRejections("max_num_queued_tokens");
  prometheus::Counter& refused_queue_full = RefusedCounter("queue_full");
  prometheus::Counter& refused_queue_time = RefusedCounter("queue_time");
  prometheus::Counter& refused_unavailable = RefusedCounter("unavailable");
  prometheus::Counter& refused_invalid = RefusedCounter("invalid");

  // Health.
  prometheus::Gauge& live = Gauge("tidal:live", "1 while the model works, else 0.");
  prometheus::Gauge& ready = Gauge("tidal:ready", "1 while new requests are welcome, else 0.");
  prometheus::Gauge& step_age =
      Gauge("tidal:seconds_since_last_step",
            "Since a step of the model ended; 0 while there is nothing to do.");
  LoopStats last_loop;  // OnStep's thread only: counters here, totals there
  std::atomic<bool> counting{true};

  // Work of the steps.
  LockFreeHistogram iteration_tokens{"vllm:iteration_tokens_total",
                                     "Prompt tokens run and tokens generated in one step.",
                                     kIterationTokenBuckets, labels};
  LockFreeHistogram step_seconds{"tidal:step_seconds", "Time one step of the model took.",
                                 kStepBuckets, labels};
  prometheus::Counter& sparse_steps =
      Counter("tidal:sparse_decode_steps_total", "Tokens decoded with sparse attention.");
  prometheus::Counter& dense_steps =
      Counter("tidal:dense_decode_steps_total", "Tokens decoded with full attention.");
  prometheus::Counter& selected_tokens = Counter(
      "tidal:selected_tokens_total", "Tokens that a reuse layer read, summed over sparse steps.");
  prometheus::Counter& corrected_tokens = Counter(
      "tidal:corrected_tokens_total", "Sparsely decoded tokens that were run again densely.");
  prometheus::Counter& corrupted =
      Counter("vllm:corrupted_requests_total",
              "Outputs that ended because the model's logits were NaN or infinite.");
  LockFreeHistogram block_lifetime{
      "vllm:kv_block_lifetime_seconds",
      "From when a KV cache block was taken to its eviction from the prefix cache.",
      kResidencyBuckets, labels};
  LockFreeHistogram block_idle{"vllm:kv_block_idle_before_evict_seconds",
                               "From a KV cache block's last use to its eviction.",
                               kResidencyBuckets, labels};
  LockFreeHistogram block_reuse_gap{"vllm:kv_block_reuse_gap_seconds",
                                    "From one use of a KV cache block to the next.",
                                    kResidencyBuckets, labels};
  prometheus::Counter& kv_bytes_read =
      Counter("tidal:kv_bytes_read_total", "KV cache bytes that decode attention read.");

  // Tokens.
  prometheus::Counter& prompt_tokens =
      Counter("vllm:prompt_tokens_total", "Prompt tokens of outputs whose first token has come.");
  prometheus::Counter& computed_here = PromptBySource("local_compute");
  prometheus::Counter& found_here = PromptBySource("local_cache_hit");
  prometheus::Counter& found_elsewhere = PromptBySource("external_kv_transfer");  // never
  prometheus::Counter& cached_tokens =
      Counter("vllm:prompt_tokens_cached_total", "Prompt tokens that came from the prefix cache.");
  prometheus::Counter& cached_on_device = Counter(
      "vllm:prompt_tokens_cached_by_source_total",
      "Prompt tokens that came from the prefix cache, by where it is.", {{"source", "device"}});
  prometheus::Counter& generation_tokens =
      Counter("vllm:generation_tokens_total", "Tokens generated.");
  prometheus::Histogram& first_token = Histogram(
      "vllm:time_to_first_token_seconds", "From request to first token.", kFirstTokenBuckets);
  LockFreeHistogram inter_token{"vllm:inter_token_latency_seconds",
                                "From one token of an output to the next.", kPerTokenBuckets,
                                labels};

  // Ended outputs and requests.
  prometheus::Counter& success_stop = Success("stop");
  prometheus::Counter& success_length = Success("length");
  prometheus::Counter& success_abort = Success("abort");
  prometheus::Counter& success_error = Success("error");
  prometheus::Histogram& e2e =
      Histogram("vllm:e2e_request_latency_seconds", "From request to last token.", kRequestBuckets);
  prometheus::Histogram& queue_time = Histogram(
      "vllm:request_queue_time_seconds", "From request to first scheduled.", kRequestBuckets);
  prometheus::Histogram& prefill_time = Histogram(
      "vllm:request_prefill_time_seconds", "From first scheduled to first token.", kRequestBuckets);
  prometheus::Histogram& decode_time =
      Histogram("vllm:request_decode_time_seconds", "From first token to last.", kRequestBuckets);
  prometheus::Histogram& inference_time =
      Histogram("vllm:request_inference_time_seconds", "From first scheduled to last token.",
                kRequestBuckets);
  prometheus::Histogram& per_output_token =
      Histogram("vllm:request_time_per_output_token_seconds",
                "Mean time between the tokens of an output.", kPerTokenBuckets);
  prometheus::Histogram& request_prompt_tokens =
      Histogram("vllm:request_prompt_tokens", "Prompt tokens of an output.", token_buckets);
  prometheus::Histogram& request_generation_tokens =
      Histogram("vllm:request_generation_tokens", "Tokens of an output.", token_buckets);
  prometheus::Histogram& request_max_generation_tokens =
      Histogram("vllm:request_max_num_generation_tokens", "Tokens of a request's longest output.",
                token_buckets);
  prometheus::Histogram& prefill_computed =
      Histogram("vllm:request_prefill_kv_computed_tokens",
                "Prompt tokens that were not in the prefix cache.", token_buckets);
  prometheus::Histogram& request_preemptions = Histogram(
      "vllm:request_num_preemptions", "Times an output was preempted.", kPreemptionBuckets);
  prometheus::Histogram& params_n =
      Histogram("vllm:request_params_n", "The n of requests.", kOutputCountBuckets);
  prometheus::Histogram& params_max_tokens =
      Histogram("vllm:request_params_max_tokens", "The max_tokens of outputs.", token_buckets);
};

Metrics::Metrics(const MetricsOptions& options) : impl_(std::make_unique<Impl>(options)) {}
Metrics::~Metrics() = default;

void Metrics::OnStep(const StepStats& step, const LoopStats& loop) {
  Impl& m = *impl_;
  m.running.Set(loop.running);
  m.waiting.Set(loop.waiting);
  m.waiting_for_capacity.Set(loop.waiting);
  m.kv_usage.Set(loop.kv_cache_usage);
  const LoopStats last = std::exchange(m.last_loop, loop);
  if (!m.counting.load(std::memory_order_relaxed)) return;
  const auto since_last = [&](int64_t LoopStats::*total) {
    return static_cast<double>(loop.*total - last.*total);
  };
  m.preemptions.Increment(since_last(&LoopStats::preemptions));
  m.prefix_queries.Increment(since_last(&LoopStats::prefix_queries));
  m.prefix_hits.Increment(since_last(&LoopStats::prefix_hits));
  m.corrected_tokens.Increment(since_last(&LoopStats::corrected_tokens));
  m.corrupted.Increment(since_last(&LoopStats::corrupt_sequences));
  m.computed_here.Increment(since_last(&LoopStats::prompt_computed));
  const double cached = since_last(&LoopStats::prompt_cached);
  m.found_here.Increment(cached);
  m.cached_tokens.Increment(cached);
  m.cached_on_device.Increment(cached);

  const bool idle = step.prefill_tokens + step.verify_tokens + step.decode_rows == 0;
  if (idle) return;
  m.iteration_tokens.Observe(step.prefill_tokens + since_last(&LoopStats::generated), 1);
  m.step_seconds.Observe(step.execute_seconds, 1);
  m.sparse_steps.Increment(step.sparse_rows);
  m.dense_steps.Increment(step.decode_rows - step.sparse_rows);
  m.selected_tokens.Increment(static_cast<double>(step.selected_tokens));
  m.kv_bytes_read.Increment(static_cast<double>(step.kv_bytes_read));
}

void Metrics::SetCounting(bool counting) { impl_->counting.store(counting); }

void Metrics::OnBlockUse(const BlockUse& use) {
  Impl& m = *impl_;
  if (!m.counting.load(std::memory_order_relaxed)) return;
  const auto observe = [](LockFreeHistogram& histogram, const std::vector<absl::Duration>& times) {
    for (const absl::Duration time : times) histogram.Observe(absl::ToDoubleSeconds(time), 1);
  };
  observe(m.block_lifetime, use.lifetimes);
  observe(m.block_idle, use.idle_times);
  observe(m.block_reuse_gap, use.reuse_gaps);
}

void Metrics::OnFirstToken(int32_t prompt_tokens, absl::Duration latency) {
  impl_->prompt_tokens.Increment(prompt_tokens);
  impl_->first_token.Observe(absl::ToDoubleSeconds(latency));
}

void Metrics::OnTokens(int32_t count, int32_t num_gaps, absl::Duration gap) {
  impl_->generation_tokens.Increment(count);
  if (num_gaps > 0) {
    impl_->inter_token.Observe(absl::ToDoubleSeconds(gap), static_cast<uint64_t>(num_gaps));
  }
}

void Metrics::OnOutputFinished(Finished reason, const FinishInfo& info, int32_t generation_tokens,
                               int32_t max_tokens) {
  Impl& m = *impl_;
  switch (reason) {
    case Finished::kStop:
      m.success_stop.Increment();
      break;
    case Finished::kLength:
      m.success_length.Increment();
      break;
    case Finished::kAbort:
      m.success_abort.Increment();
      break;
    case Finished::kError:
      m.success_error.Increment();
      break;
  }
  m.e2e.Observe(Between(info.arrival, info.finish));
  m.params_max_tokens.Observe(max_tokens);
  m.request_prompt_tokens.Observe(info.prompt_tokens);
  m.request_generation_tokens.Observe(generation_tokens);
  m.request_preemptions.Observe(info.preemptions);
  if (info.first_scheduled == absl::InfinitePast()) return;
  m.queue_time.Observe(Between(info.arrival, info.first_scheduled));
  m.inference_time.Observe(Between(info.first_scheduled, info.finish));
  m.prefill_computed.Observe(info.prompt_tokens - info.cached_tokens);
  if (info.first_token == absl::InfinitePast()) return;
  m.prefill_time.Observe(Between(info.first_scheduled, info.first_token));
  m.decode_time.Observe(Between(info.first_token, info.finish));
  if (info.output_tokens > 1) {
    m.per_output_token.Observe(Between(info.first_token, info.finish) / (info.output_tokens - 1));
  }
}

void Metrics::OnRequestFinished(int32_t n, int32_t longest_generation) {
  impl_->params_n.Observe(n);
  impl_->request_max_generation_tokens.Observe(longest_generation);
}

void Metrics::OnRefused(Refused reason) {
  Impl& m = *impl_;
  switch (reason) {
    case Refused::kQueueRequests:
      m.rejected_requests.Increment();
      return m.refused_queue_full.Increment();
    case Refused::kQueueTokens:
      m.rejected_tokens.Increment();
      return m.refused_queue_full.Increment();
    case Refused::kQueueTime:
      return m.refused_queue_time.Increment();
    case Refused::kUnavailable:
      return m.refused_unavailable.Increment();
    case Refused::kInvalid:
      return m.refused_invalid.Increment();
  }
}

void Metrics::OnHealth(const Health& health) {
  Impl& m = *impl_;
  m.live.Set(health.live);
  m.ready.Set(health.ready);
  m.step_age.Set(absl::ToDoubleSeconds(health.step_age));
  m.waiting.Set(health.queue.waiting.requests);
  m.waiting_for_capacity.Set(health.queue.waiting.requests);
  m.queued_tokens.Set(static_cast<double>(health.queue.waiting.tokens));
  m.queued_tokens_limit.Set(static_cast<double>(health.queue.token_limit));
  m.full_load_rate.Set(health.queue.tokens_per_second);
  m.retry_after.Set(absl::ToDoubleSeconds(health.queue.retry_after));
}

std::string Metrics::Render() const {
  std::vector<prometheus::MetricFamily> families = impl_->registry.Collect();
  for (const LockFreeHistogram* histogram :
       {&impl_->iteration_tokens, &impl_->step_seconds, &impl_->inter_token, &impl_->block_lifetime,
        &impl_->block_idle, &impl_->block_reuse_gap}) {
    families.push_back(histogram->Collect());
  }
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return out.str();
}

}  // namespace tidal
