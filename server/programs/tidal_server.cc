#include "server/programs/tidal_server.h"

#include <atomic>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "scheduler/steady_time.h"
#include "server/config/byte_size.h"
#include "server/config/port_check.h"
#include "server/gateway/gateway.h"
#include "server/generation/generation_spans.h"
#include "server/generation/model_runtime.h"
#include "server/grpc/grpc_server.h"
#include "server/observe/health_monitor.h"
#include "server/observe/logging.h"
#include "server/observe/tracer.h"
#include "server/security/api_keys.h"
#include "server/security/open_doors.h"
#include "server/security/tls_context.h"

namespace tidal {
namespace {

// Time for replies that are complete to leave through their connections.
constexpr absl::Duration kFlushGrace = absl::Seconds(5);

int64_t Milliseconds(absl::Duration duration) {
  return duration == absl::InfiniteDuration() ? -1 : absl::ToInt64Milliseconds(duration);
}

void LogRequest(const GenerationSummary& summary, const std::string& trace_id) {
  const std::string status = absl::StatusCodeToString(summary.status.code());
  if (summary.finish.empty()) {  // the reason may quote the client, the code does not
    // A full queue is told once by the health monitor, not by a line for each whom it turns away.
    const bool is_full = absl::IsResourceExhausted(summary.status);
    Log(is_full ? LogLevel::kDebug : LogLevel::kInfo, "request refused",
        {{"id", summary.request_id}, {"trace_id", trace_id}, {"status", status}});
    return;
  }
  Log(LogLevel::kInfo, "request",
      {{"id", summary.request_id},
       {"trace_id", trace_id},
       {"status", status},
       {"finish", summary.finish},
       {"n", summary.n},
       {"prompt_tokens", summary.prompt_tokens},
       {"cached_tokens", summary.cached_tokens},
       {"completion_tokens", summary.completion_tokens},
       {"sparse_steps", summary.sparse_steps},
       {"dense_steps", summary.dense_steps},
       {"preemptions", summary.preemptions},
       {"ttft_ms", Milliseconds(summary.time_to_first_token)},
       {"total_ms", Milliseconds(summary.end - summary.arrival)}});
}

void LogModel(const ServedModel& model) {
  const EngineInfo& info = model.info;
  Log(LogLevel::kInfo, "model",
      {{"names", absl::StrJoin(model.names, ",")},
       {"architecture", info.architecture},
       {"device", info.device},
       {"tensor_parallel_size", info.num_ranks},
       {"memory", info.memory.front().ToString()},
       {"graphs", info.graphs},
       {"weights", FormatByteSize({info.weight_bytes})},
       {"max_model_len", info.max_model_len},
       {"kv_blocks", info.num_blocks},
       {"block_size", info.block_size},
       {"kv_cache", FormatByteSize({info.kv_bytes_per_token * info.block_size * info.num_blocks})},
       {"attention", info.attention.pattern},
       {"attention_source", info.attention_source},
       {"attention_mode", model.default_attention_mode == AttentionMode::kTidal ? "tidal" : "full"},
       {"token_budget", model.default_token_budget},
       {"chat", model.chat_template != nullptr ? "yes" : "no"},
       {"tool_call_parser", model.reply_formats.calls_name()},
       {"reasoning_parser", model.reply_formats.reasoning_name()},
       {"parsers_found_by", model.reply_formats.reason}});
  for (size_t rank = 1; rank < info.memory.size(); ++rank) {
    Log(LogLevel::kInfo, "memory of another rank",
        {{"of_rank", rank}, {"memory", info.memory[rank].ToString()}});
  }
  if (!info.tidal_available || info.tidal_chosen) return;
  Log(LogLevel::kInfo,
      "full attention: the model's folder has no tidal.json that says which layers select, and "
      "nobody named an --attention_profile; a request may ask for tidal, uncalibrated",
      {{"tidal_for_all", "--attention_profile=published"},
       {"to_calibrate", "docs/sparse_attention.md, Writing a tidal.json"}});
}

}  // namespace

class TidalServer::Impl {
 public:
  explicit Impl(const ServerConfig& config)
      : config_(config), tracer_(config.tracing, "tidal-server") {}
  ~Impl() { Shutdown(absl::ZeroDuration()); }

  absl::Status Start() {
    const absl::Time begin = absl::Now();
    TIDAL_RETURN_IF_ERROR(CheckPortIsFree("http_port", config_.host, config_.http_port));
    TIDAL_RETURN_IF_ERROR(CheckPortIsFree("grpc_port", config_.host, config_.grpc_port));
    if (config_.doors.health_port != 0) {
      TIDAL_RETURN_IF_ERROR(
          CheckPortIsFree("health_port", config_.host, config_.doors.health_port));
    }
    if (config_.doors.tls.enabled()) {
      TIDAL_RETURN_IF_ERROR(MakeTlsContext(config_.doors.tls, TlsProtocol::kHttp1).status());
    }
    TIDAL_ASSIGN_OR_RETURN(api_keys_,
                           ApiKeys::Load(config_.doors.api_keys, config_.doors.api_key_file));
    WarnOfOpenDoors(config_.host, *api_keys_);
    RuntimeHooks hooks;
    hooks.on_request_end = [this](const GenerationSummary& summary) { OnRequestEnd(summary); };
    hooks.on_failure = OnFailure;
    TIDAL_ASSIGN_OR_RETURN(runtime_, ModelRuntime::Load(config_.model, std::move(hooks)));
    LogModel(runtime_->model());
    TIDAL_RETURN_IF_ERROR(StartGrpc());
    StartMonitor();
    TIDAL_RETURN_IF_ERROR(StartHttp());
    TIDAL_RETURN_IF_ERROR(runtime_->WarmUp());
    monitor_->SetStarted();
    Log(LogLevel::kInfo, "ready",
        {{"http", absl::StrCat(config_.doors.tls.enabled() ? "https://" : "http://", config_.host,
                               ":", http_->port())},
         {"grpc", absl::StrCat(config_.host, ":", grpc_->port())},
         {"start_ms", Milliseconds(absl::Now() - begin)}});
    return absl::OkStatus();
  }

  int http_port() const { return http_->port(); }
  int grpc_port() const { return grpc_->port(); }

  bool Shutdown(absl::Duration timeout) {
    if (runtime_ == nullptr || stopped_.exchange(true)) return true;
    if (monitor_ != nullptr) monitor_->SetDraining();
    runtime_->service().StopAccepting();
    const bool finished = runtime_->loop().Drain(SteadyNow() + timeout);
    monitor_.reset();
    if (http_ != nullptr) http_->Stop(kFlushGrace);
    if (grpc_ != nullptr) grpc_->Stop(kFlushGrace);
    runtime_->loop().Stop();
    return finished;
  }

 private:
  absl::Status StartGrpc() {
    GrpcServerOptions options;
    options.host = config_.host;
    options.port = config_.grpc_port;
    options.tls = config_.doors.tls;
    options.api_keys = api_keys_;
    options.max_connection_age = config_.grpc_max_connection_age;
    options.max_message_bytes = static_cast<int>(config_.max_request_bytes);
    options.max_header_bytes = static_cast<int>(config_.doors.http.max_header_bytes);
    options.max_connections = config_.doors.http.max_connections;
    options.header_timeout = config_.doors.http.http_header_timeout;
    options.write_timeout = config_.doors.http.http_write_timeout;
    TIDAL_ASSIGN_OR_RETURN(grpc_, GrpcServer::Start(options, &runtime_->service()));
    return absl::OkStatus();
  }

  void StartMonitor() {
    HealthOptions options;
    options.watchdog_timeout = config_.watchdog_timeout;
    options.unready_when_saturated = config_.unready_when_saturated;
    options.on_look = [this](const Health& health) {
      grpc_->SetReady(health.ready);
      grpc_->SetAccepting(health.accepting);
      grpc_->SetLive(health.live);
      runtime_->service().SetStalled(health.stalled);
      runtime_->metrics().OnHealth(health);
    };
    monitor_ = std::make_unique<HealthMonitor>(&runtime_->loop(), std::move(options));
  }

  absl::Status StartHttp() {
    GatewayOptions options;
    options.host = config_.host;
    options.port = config_.http_port;
    options.api_keys = api_keys_;
    options.tls = config_.doors.tls;
    options.health_port = config_.doors.health_port;
    options.allowed_origins = config_.doors.allowed_origins;
    options.root_path = config_.doors.root_path;
    options.reply_defaults = {config_.doors.enable_force_include_usage,
                              config_.doors.return_tokens_as_token_ids};
    options.limits = config_.doors.http;
    options.max_body_bytes = static_cast<size_t>(config_.max_request_bytes);
    options.render_metrics = [this] {
      return runtime_->metrics().Render() + grpc_->RenderMetrics();
    };
    options.tracer = &tracer_;
    options.is_started = [this] { return monitor_->health().started; };
    options.is_live = [this] { return monitor_->health().live; };
    auto channel = grpc_->InProcessChannel();
    TIDAL_ASSIGN_OR_RETURN(http_, Gateway::Start(std::move(options), std::move(channel)));
    return absl::OkStatus();
  }

  void OnRequestEnd(const GenerationSummary& summary) {
    const TraceContext context = tracer_.NewSpan(summary.caller);
    LogRequest(summary, context.trace_id);
    if (!context.sampled) return;
    std::vector<Span> spans = MakeGenerationSpans(summary, context, tracer_);
    const absl::Duration to_wall_time = absl::Now() - SteadyNow();
    for (Span& span : spans) {
      span.start += to_wall_time;
      span.end += to_wall_time;
    }
    tracer_.Export(std::move(spans));
  }

  static void OnFailure(const absl::Status& status) {
    Log(LogLevel::kError, "the model stopped working; no request can be answered any more",
        {{"reason", status.message()}});
  }

  const ServerConfig config_;
  Tracer tracer_;  // outlives those who make spans
  std::atomic<bool> stopped_{false};
  std::shared_ptr<const ApiKeys> api_keys_;
  std::unique_ptr<ModelRuntime> runtime_;  // outlives the two doors to it
  std::unique_ptr<GrpcServer> grpc_;
  std::unique_ptr<HealthMonitor> monitor_;
  std::unique_ptr<Gateway> http_;
};

TidalServer::TidalServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TidalServer::~TidalServer() = default;

absl::StatusOr<std::unique_ptr<TidalServer>> TidalServer::Start(const ServerConfig& config) {
  auto impl = std::make_unique<Impl>(config);
  TIDAL_RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<TidalServer>(new TidalServer(std::move(impl)));
}

int TidalServer::http_port() const { return impl_->http_port(); }
int TidalServer::grpc_port() const { return impl_->grpc_port(); }
bool TidalServer::Shutdown(absl::Duration timeout) { return impl_->Shutdown(timeout); }

}  // namespace tidal
