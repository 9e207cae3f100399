#include "server/gateway/api_handler.h"

#include <chrono>
#include <functional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/anthropic/messages_api.h"
#include "server/anthropic/messages_error.h"
#include "server/anthropic/messages_request.h"
#include "server/gateway/api_response.h"
#include "server/gateway/call_metadata.h"
#include "server/gateway/generate_call.h"
#include "server/gateway/generate_exchange.h"
#include "server/gateway/load_report.h"
#include "server/generation/request_limits.h"
#include "server/http/connection.h"
#include "server/http/cors.h"
#include "server/http/request_id.h"
#include "server/observe/process_metrics.h"
#include "server/observe/tracer.h"
#include "server/observe/version.h"
#include "server/openai/openai_codec.h"
#include "server/openai/openai_error.h"
#include "server/responses/responses_api.h"

namespace tidal {
namespace {

constexpr std::chrono::seconds kUnaryTimeout(30);
constexpr std::chrono::seconds kHealthTimeout(2);
constexpr size_t kMaxWaitingQueries = 32;
constexpr int kQueryNiceness = 10;

constexpr auto kTokenizeMethod = [](auto& stubs, auto... arguments) {
  stubs.inference->async()->Tokenize(arguments...);
};

HttpResponse TextResponse(int status, std::string text, const std::string& request_id) {
  HttpResponse response;
  response.status = status;
  response.headers.emplace_back("X-Request-Id", request_id);
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::move(text);
  return response;
}

// A browser sends other types to any server, for any page and without asking; this one it does not.
bool IsJson(absl::string_view content_type) {
  const absl::string_view type =
      absl::StripAsciiWhitespace(content_type.substr(0, content_type.find(';')));
  return content_type.empty() || absl::EqualsIgnoreCase(type, "application/json");
}

// A unary RPC in progress; what its callback and its canceller share.
template <typename Request, typename Response>
struct UnaryCall {
  // First, so that they go last: the gateway lives as long as the connection, and holds the
  // channel. Else the context, on a thread of gRPC, could let go of the channel last, which waits
  // for that thread.
  std::shared_ptr<Connection> connection;
  std::shared_ptr<const ServerChannel::Stubs> stubs;
  grpc::ClientContext context;
  Request request;
  Response response;
};

// Calls `method` of the stubs with `request` and answers the connection with render(status,
// response): on its strand, or on a thread of `pool` where there is one. The RPC is cancelled when
// the client leaves. On the strand.
template <typename Response, typename Request, typename Method, typename Render>
void CallAndRespond(std::shared_ptr<Connection> connection, ServerChannel* channel,
                    const CallMetadata& metadata, Request request, std::chrono::seconds timeout,
                    Method method, Render render, WorkerPool* pool = nullptr) {
  auto call = std::make_shared<UnaryCall<Request, Response>>();
  call->connection = std::move(connection);
  call->stubs = channel->stubs();
  AddMetadata(metadata, &call->context);
  call->request = std::move(request);
  call->context.set_deadline(std::chrono::system_clock::now() + timeout);
  call->connection->WatchClient([] {}, [call] { call->context.TryCancel(); });
  method(*call->stubs, &call->context, &call->request, &call->response,
         [call, pool, render = std::move(render)](const grpc::Status& status) {
           if (pool == nullptr) {
             return call->connection->Post([call, render, status = FromGrpc(status)] {
               call->connection->Respond(render(status, call->response));
             });
           }
           pool->Post([call, render, status = FromGrpc(status)] {
             auto rendered = std::make_shared<HttpResponse>(render(status, call->response));
             call->response.Clear();
             call->connection->Post(
                 [call, rendered] { call->connection->Respond(std::move(*rendered)); });
           });
         });
}

// The parser of JSON takes a NUL for the end of the body, and would leave what follows unseen.
absl::Status CheckNoNul(const std::string& body) {
  const size_t at = body.find('\0');
  if (at == std::string::npos) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("body: must be valid JSON in UTF-8, got a syntax error at byte ", at + 1));
}

}  // namespace

ApiHandler::ApiHandler(const GatewayOptions& options, const HttpStats& stats,
                       std::unique_ptr<ServerChannel> channel)
    : options_(options),
      stats_(stats),
      channel_(std::move(channel)),
      query_pool_(/*num_threads=*/1, kMaxWaitingQueries, kQueryNiceness) {}

Route ApiHandler::RouteOf(HttpRequest* request) const {
  absl::StatusOr<std::string> path = DecodePath(request->path);
  if (!path.ok()) {
    Route route;
    route.endpoint = Endpoint::kBadPath;
    return route;
  }
  request->path = std::string(StripRootPath(options_.root_path, *path));
  return FindRoute(request->method, request->path);
}

void ApiHandler::Handle(std::shared_ptr<Connection> connection, HttpRequest request) {
  const Route route = RouteOf(&request);
  connection->set_route(route.path);
  // Browsers ask without the key of the request that they ask for.
  if (auto preflight = AnswerPreflight(options_.allowed_origins, request)) {
    return connection->Respond(*std::move(preflight));
  }
  if (!route.is_public && options_.api_keys != nullptr) {
    const absl::Status known = options_.api_keys->TenantOf(request.authorization).status();
    if (!known.ok()) {
      return connection->Respond(
          ErrorResponse(ToApiError(known), {request.request_id, route.format}));
    }
  }
  Answer(std::move(connection), request, route);
}

void ApiHandler::HandlePublic(std::shared_ptr<Connection> connection, HttpRequest request) {
  Route route = RouteOf(&request);
  if (!route.is_public) route = Route();
  connection->set_route(route.path);
  Answer(std::move(connection), request, route);
}

void ApiHandler::Answer(std::shared_ptr<Connection> connection, HttpRequest& request,
                        const Route& route) {
  const std::string& id = request.request_id;
  const ResponseContext context = {id, route.format};
  const auto fail = [&](int status, const std::string& message) {
    return ErrorResponse(HttpError(status, message), context);
  };
  const bool takes_json =
      route.allowed_methods == "POST" && route.endpoint != Endpoint::kWrongMethod;
  if (takes_json && !IsJson(request.content_type)) {
    return connection->Respond(fail(415, "Content-Type: must be application/json"));
  }
  if (const absl::Status body = CheckNoNul(request.body); !body.ok()) {
    return connection->Respond(ErrorResponse(ToApiError(body), context));
  }
  switch (route.endpoint) {
    case Endpoint::kBadPath:
      return connection->Respond(
          ErrorResponse(ToApiError(DecodePath(request.path).status()), context));
    case Endpoint::kNotFound:
      return connection->Respond(fail(404, absl::StrCat("no such path: ", request.path)));
    case Endpoint::kWrongMethod: {
      HttpResponse response = fail(
          405,
          absl::StrCat("method ", request.method, " is not allowed, use ", route.allowed_methods));
      response.headers.emplace_back("Allow", route.allowed_methods);
      return connection->Respond(std::move(response));
    }
    case Endpoint::kNotOffered:
      return connection->Respond(fail(400, route.refusal));
    case Endpoint::kCompletions:
    case Endpoint::kChatCompletions:
    case Endpoint::kChatBatch:
    case Endpoint::kInvocations:
    case Endpoint::kGenerativeScoring:
    case Endpoint::kMessages:
    case Endpoint::kResponses:
      return AnswerGenerate(std::move(connection), request, route, context);
    case Endpoint::kTokenize:
      return AnswerTokenize(connection, request, context);
    case Endpoint::kCountTokens:
      return AnswerCountTokens(connection, request, context);
    case Endpoint::kDetokenize:
      return AnswerDetokenize(connection, request, context);
    case Endpoint::kModels:
    case Endpoint::kModel:
      return AnswerModels(std::move(connection), request, std::string(route.tail), context);
    case Endpoint::kStoredResponse:
      return connection->Respond(ErrorResponse(NoSuchResponse(route.tail), context));
    case Endpoint::kReady:
      return AnswerReady(std::move(connection), id);
    case Endpoint::kStarted:
      return connection->Respond(StartedResponse(id));
    case Endpoint::kLive:
      return connection->Respond(LiveResponse(id));
    case Endpoint::kLoad:
      return connection->Respond(LoadResponse(context));
    case Endpoint::kVersion:
      return connection->Respond(JsonResponse(RenderVersion(Version()), context));
    case Endpoint::kMetrics:
      return connection->Respond(MetricsResponse(id));
    case Endpoint::kTokenizerInfo:
      return AnswerTokenizerInfo(std::move(connection), request, context);
  }
}

void ApiHandler::AnswerGenerate(std::shared_ptr<Connection> connection, HttpRequest& request,
                                const Route& route, ResponseContext context) {
  auto span = std::make_unique<HttpSpan>(options_.tracer, request, route.path);
  absl::StatusOr<ApiRequest> parsed = absl::UnavailableError("the server is shutting down");
  if (!draining_) parsed = route.parse(request.body);
  request.body = std::string();  // the call takes as much again
  if (!parsed.ok()) {
    const ApiError error = ToApiError(parsed.status());
    span->End(error.http_status);
    return connection->Respond(ErrorResponse(error, context));
  }
  parsed->defaults = options_.reply_defaults;
  AddLoadReport(request.load_report_format, *parsed);
  if (!parsed->request_id.empty()) context.request_id = RequestId(parsed->request_id);
  for (size_t i = 0; i < parsed->calls.size(); ++i) {
    parsed->calls[i].set_request_id(
        parsed->calls.size() == 1 ? context.request_id : absl::StrCat(context.request_id, "-", i));
  }
  const CallMetadata metadata = MetadataOf(request, span->context());
  GenerateExchange::Start(std::move(connection), channel_->stubs(), *std::move(parsed), metadata,
                          std::move(context), options_.max_unsent_bytes, std::move(span));
}

void ApiHandler::AddLoadReport(const std::string& format, ApiRequest& request) const {
  if (format.empty() || !options_.render_metrics) return;
  std::string report = LoadReport(format, options_.render_metrics());
  if (!report.empty()) request.headers.emplace_back(kLoadReportHeader, std::move(report));
}

void ApiHandler::AnswerOnQueryThread(const std::shared_ptr<Connection>& connection,
                                     HttpRequest& request, const ResponseContext& context,
                                     std::function<void(const std::string&)> answer) {
  if (request.body.size() > kMaxTokenQueryBytes) {
    return connection->Respond(
        ErrorResponse(HttpError(413, absl::StrCat("body: must be at most ", kMaxTokenQueryBytes,
                                                  " bytes, got ", request.body.size())),
                      context));
  }
  std::string tenant;
  if (options_.api_keys != nullptr) {
    tenant = options_.api_keys->TenantOf(request.authorization).value_or("");
  }
  if (!query_pool_.TryPost(
          [body = std::move(request.body), answer = std::move(answer)] { answer(body); }, tenant)) {
    connection->Respond(ErrorResponse(
        ToApiError(absl::ResourceExhaustedError("too many questions about text wait")), context));
  }
}

template <typename Request, typename Response, typename Parse, typename Method, typename Render>
void ApiHandler::AnswerTokenQuery(const std::shared_ptr<Connection>& connection,
                                  HttpRequest& request, const ResponseContext& context, Parse parse,
                                  Method method, Render render) {
  AnswerOnQueryThread(
      connection, request, context,
      [this, connection, metadata = MetadataOf(request), context, parse, method,
       render](const std::string& body) {
        auto parsed = std::make_shared<absl::StatusOr<Request>>(parse(body));
        connection->Post([this, connection, metadata, context, method, render, parsed] {
          if (!parsed->ok()) {
            return connection->Respond(ErrorResponse(ToApiError(parsed->status()), context));
          }
          const auto render_reply = render(**parsed, context);
          CallAndRespond<Response>(connection, channel_.get(), metadata, *std::move(*parsed),
                                   kUnaryTimeout, method, render_reply, &query_pool_);
        });
      });
}

void ApiHandler::AnswerTokenize(const std::shared_ptr<Connection>& connection, HttpRequest& request,
                                const ResponseContext& context) {
  AnswerTokenQuery<v1::TokenizeRequest, v1::TokenizeResponse>(
      connection, request, context, ParseTokenizeRequest, kTokenizeMethod,
      [](const v1::TokenizeRequest& asked, const ResponseContext& context) {
        return [context, with_strings = asked.return_token_strings()](
                   const absl::Status& status, const v1::TokenizeResponse& response) {
          if (!status.ok()) return ErrorResponse(ToApiError(status), context);
          return JsonResponse(RenderTokenizeResponse(response, with_strings), context);
        };
      });
}

void ApiHandler::AnswerCountTokens(const std::shared_ptr<Connection>& connection,
                                   HttpRequest& request, const ResponseContext& context) {
  AnswerTokenQuery<v1::TokenizeRequest, v1::TokenizeResponse>(
      connection, request, context, ParseCountTokensRequest, kTokenizeMethod,
      [](const v1::TokenizeRequest&, const ResponseContext& context) {
        return [context](const absl::Status& status, const v1::TokenizeResponse& response) {
          if (!status.ok()) return ErrorResponse(ToMessagesError(status), context);
          return JsonResponse(RenderCountTokensResponse(response), context);
        };
      });
}

void ApiHandler::AnswerDetokenize(const std::shared_ptr<Connection>& connection,
                                  HttpRequest& request, const ResponseContext& context) {
  AnswerTokenQuery<v1::DetokenizeRequest, v1::DetokenizeResponse>(
      connection, request, context, ParseDetokenizeRequest,
      [](auto& stubs, auto... arguments) { stubs.inference->async()->Detokenize(arguments...); },
      [](const v1::DetokenizeRequest&, const ResponseContext& context) {
        return [context](const absl::Status& status, const v1::DetokenizeResponse& response) {
          const ReplyOptions names = {.prompt_field = "tokens"};
          if (!status.ok()) return ErrorResponse(ToApiError(status, names), context);
          return JsonResponse(RenderDetokenizeResponse(response), context);
        };
      });
}

void ApiHandler::AnswerModels(std::shared_ptr<Connection> connection, const HttpRequest& request,
                              std::string name, const ResponseContext& context) {
  CallAndRespond<v1::ModelInfo>(
      std::move(connection), channel_.get(), MetadataOf(request), v1::GetModelInfoRequest(),
      kUnaryTimeout,
      [](auto& stubs, auto... arguments) { stubs.inference->async()->GetModelInfo(arguments...); },
      [name, context](const absl::Status& status, const v1::ModelInfo& info) {
        if (!status.ok()) return ErrorResponse(ToApiError(status), context);
        if (name.empty()) return JsonResponse(RenderModelList(info), context);
        absl::StatusOr<std::string> model = RenderModel(info, name);
        if (!model.ok()) return ErrorResponse(ToApiError(model.status()), context);
        return JsonResponse(*std::move(model), context);
      });
}

void ApiHandler::AnswerTokenizerInfo(std::shared_ptr<Connection> connection,
                                     const HttpRequest& request, const ResponseContext& context) {
  v1::GetModelInfoRequest wanted;
  wanted.set_tokenizer_info(true);
  CallAndRespond<v1::ModelInfo>(
      std::move(connection), channel_.get(), MetadataOf(request), std::move(wanted), kUnaryTimeout,
      [](auto& stubs, auto... arguments) { stubs.inference->async()->GetModelInfo(arguments...); },
      [context](const absl::Status& status, const v1::ModelInfo& info) {
        if (!status.ok()) return ErrorResponse(ToApiError(status), context);
        if (!info.tokenizer_info().empty()) return JsonResponse(info.tokenizer_info(), context);
        return ErrorResponse(HttpError(404,
                                       "no such path: /tokenizer_info, which the server has with "
                                       "--enable_tokenizer_info_endpoint"),
                             context);
      });
}

void ApiHandler::AnswerReady(std::shared_ptr<Connection> connection, std::string request_id) {
  if (draining_) return connection->Respond(TextResponse(503, "draining\n", request_id));
  using grpc::health::v1::HealthCheckResponse;
  grpc::health::v1::HealthCheckRequest check;
  check.set_service(options_.health_service);
  CallAndRespond<HealthCheckResponse>(
      std::move(connection), channel_.get(), {}, std::move(check), kHealthTimeout,
      [](auto& stubs, auto... arguments) { stubs.health->async()->Check(arguments...); },
      [request_id](const absl::Status& status, const HealthCheckResponse& response) {
        const bool ready = status.ok() && response.status() == HealthCheckResponse::SERVING;
        return ready ? TextResponse(200, "ready\n", request_id)
                     : TextResponse(503, "not ready\n", request_id);
      });
}

HttpResponse ApiHandler::StartedResponse(const std::string& request_id) const {
  const bool started = !options_.is_started || options_.is_started();
  return started ? TextResponse(200, "started\n", request_id)
                 : TextResponse(503, "not started\n", request_id);
}

HttpResponse ApiHandler::LiveResponse(const std::string& request_id) const {
  const bool live = !options_.is_live || options_.is_live();
  return live ? TextResponse(200, "live\n", request_id)
              : TextResponse(503, "not live\n", request_id);
}

HttpResponse ApiHandler::LoadResponse(const ResponseContext& context) const {
  int running = 0;
  for (const std::string& path : GeneratingPaths()) running += stats_.running(path);
  return JsonResponse(absl::StrCat("{\"server_load\":", running, "}"), context);
}

HttpResponse ApiHandler::MetricsResponse(const std::string& request_id) const {
  HttpResponse response =
      TextResponse(200, options_.render_metrics ? options_.render_metrics() : "", request_id);
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body += stats_.Render();
  response.body += RenderProcessMetrics();
  if (options_.tracer != nullptr) response.body += options_.tracer->RenderMetrics();
  if (options_.api_keys != nullptr) {
    absl::StrAppend(&response.body,
                    "# HELP tidal:unauthorized_requests_total Requests, over HTTP and gRPC, that "
                    "were refused for their API key.\n"
                    "# TYPE tidal:unauthorized_requests_total counter\n"
                    "tidal:unauthorized_requests_total ",
                    options_.api_keys->refused(), "\n");
  }
  return response;
}

}  // namespace tidal
