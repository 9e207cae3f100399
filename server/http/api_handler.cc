#include "server/http/api_handler.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/command_line.h"
#include "server/http/api_response.h"
#include "server/http/call_metadata.h"
#include "server/http/connection.h"
#include "server/http/generate_call.h"
#include "server/http/generate_exchange.h"
#include "server/http/openai_codec.h"
#include "server/http/openai_error.h"
#include "server/http/process_metrics.h"
#include "server/tracing/tracer.h"

namespace tidal {
namespace {

constexpr std::chrono::seconds kUnaryTimeout(30);
constexpr std::chrono::seconds kHealthTimeout(2);
constexpr size_t kMaxRequestIdBytes = 128;

HttpResponse TextResponse(int status, std::string text) {
  HttpResponse response;
  response.status = status;
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::move(text);
  return response;
}

// The client's own id where it can stand in a header and a log line, else a random one.
std::string RequestId(const std::string& wanted) {
  const auto is_plain = [](char c) { return absl::ascii_isgraph(c); };
  if (!wanted.empty() && wanted.size() <= kMaxRequestIdBytes &&
      std::all_of(wanted.begin(), wanted.end(), is_plain)) {
    return wanted;
  }
  static thread_local absl::BitGen random;
  return absl::StrCat(absl::Hex(absl::Uniform<uint64_t>(random), absl::kZeroPad16),
                      absl::Hex(absl::Uniform<uint64_t>(random), absl::kZeroPad16));
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
// response), on its strand. The RPC is cancelled when the client leaves.
template <typename Response, typename Request, typename Method, typename Render>
void CallAndRespond(std::shared_ptr<Connection> connection, ServerChannel* channel,
                    const CallMetadata& metadata, Request request, std::chrono::seconds timeout,
                    Method method, Render render) {
  auto call = std::make_shared<UnaryCall<Request, Response>>();
  call->connection = std::move(connection);
  call->stubs = channel->stubs();
  AddMetadata(metadata, &call->context);
  call->request = std::move(request);
  call->context.set_deadline(std::chrono::system_clock::now() + timeout);
  call->connection->Listen([] {}, [call] { call->context.TryCancel(); });
  method(*call->stubs, &call->context, &call->request, &call->response,
         [call, render = std::move(render)](const grpc::Status& status) {
           call->connection->Post([call, render, status = FromGrpc(status)] {
             call->connection->Respond(render(status, call->response));
           });
         });
}

}  // namespace

ApiHandler::ApiHandler(const GatewayOptions& options, const HttpStats& stats,
                       std::unique_ptr<ServerChannel> channel)
    : options_(options), stats_(stats), channel_(std::move(channel)) {}

void ApiHandler::Handle(std::shared_ptr<Connection> connection, HttpRequest request) {
  const Route route = FindRoute(request.method, request.path);
  connection->set_route(route.path);
  if (!route.is_public && options_.api_keys != nullptr) {
    const absl::Status known = options_.api_keys->TenantOf(request.authorization).status();
    if (!known.ok()) {
      return connection->Respond(ErrorResponse(ToApiError(known), RequestId(request.request_id)));
    }
  }
  Answer(std::move(connection), request, route);
}

void ApiHandler::HandlePublic(std::shared_ptr<Connection> connection, HttpRequest request) {
  Route route = FindRoute(request.method, request.path);
  if (!route.is_public) route = Route();
  connection->set_route(route.path);
  Answer(std::move(connection), request, route);
}

void ApiHandler::Answer(std::shared_ptr<Connection> connection, const HttpRequest& request,
                        const Route& route) {
  std::string id = RequestId(request.request_id);
  const auto fail = [&](int status, const std::string& message) {
    return ErrorResponse(HttpError(status, message), id);
  };
  switch (route.endpoint) {
    case Endpoint::kNotFound:
      return connection->Respond(fail(404, absl::StrCat("no such path: ", request.path)));
    case Endpoint::kWrongMethod: {
      HttpResponse response = fail(
          405,
          absl::StrCat("method ", request.method, " is not allowed, use ", route.allowed_methods));
      response.headers.emplace_back("Allow", route.allowed_methods);
      return connection->Respond(std::move(response));
    }
    case Endpoint::kCompletions:
    case Endpoint::kChatCompletions:
      return Generate(std::move(connection), request, route, std::move(id));
    case Endpoint::kTokenize:
      return Tokenize(std::move(connection), request, std::move(id));
    case Endpoint::kDetokenize:
      return Detokenize(std::move(connection), request, std::move(id));
    case Endpoint::kModels:
    case Endpoint::kModel:
      return Models(std::move(connection), request, std::string(route.tail), std::move(id));
    case Endpoint::kReady:
      return Ready(std::move(connection));
    case Endpoint::kStarted:
      return connection->Respond(Started());
    case Endpoint::kLive:
      return connection->Respond(Live());
    case Endpoint::kVersion:
      return connection->Respond(JsonResponse(RenderVersion(Version()), id));
    case Endpoint::kMetrics:
      return connection->Respond(Metrics());
  }
}

void ApiHandler::Generate(std::shared_ptr<Connection> connection, const HttpRequest& request,
                          const Route& route, std::string request_id) {
  auto span = std::make_unique<HttpSpan>(options_.tracer, request, route.path);
  absl::StatusOr<OpenAiRequest> parsed =
      draining_ ? absl::UnavailableError("the server is shutting down")
      : route.endpoint == Endpoint::kChatCompletions ? ParseChatRequest(request.body)
                                                     : ParseCompletionRequest(request.body);
  if (!parsed.ok()) {
    const ApiError error = ToApiError(parsed.status());
    span->End(error.http_status);
    return connection->Respond(ErrorResponse(error, request_id));
  }
  if (!parsed->request_id.empty()) request_id = RequestId(parsed->request_id);
  for (size_t i = 0; i < parsed->calls.size(); ++i) {
    parsed->calls[i].set_request_id(parsed->calls.size() == 1 ? request_id
                                                              : absl::StrCat(request_id, "-", i));
  }
  const CallMetadata metadata = MetadataOf(request, span->context());
  GenerateExchange::Start(std::move(connection), channel_->stubs(), *std::move(parsed), metadata,
                          std::move(request_id), options_.max_unsent_bytes, std::move(span));
}

void ApiHandler::Tokenize(std::shared_ptr<Connection> connection, const HttpRequest& request,
                          std::string request_id) {
  absl::StatusOr<v1::TokenizeRequest> parsed = ParseTokenizeRequest(request.body);
  if (!parsed.ok()) {
    return connection->Respond(ErrorResponse(ToApiError(parsed.status()), request_id));
  }
  const bool with_strings = parsed->return_token_strings();
  CallAndRespond<v1::TokenizeResponse>(
      std::move(connection), channel_.get(), MetadataOf(request), *std::move(parsed), kUnaryTimeout,
      [](auto& stubs, auto... arguments) { stubs.inference->async()->Tokenize(arguments...); },
      [request_id, with_strings](const absl::Status& status, const v1::TokenizeResponse& response) {
        if (!status.ok()) return ErrorResponse(ToApiError(status), request_id);
        return JsonResponse(RenderTokenizeResponse(response, with_strings), request_id);
      });
}

void ApiHandler::Detokenize(std::shared_ptr<Connection> connection, const HttpRequest& request,
                            std::string request_id) {
  absl::StatusOr<v1::DetokenizeRequest> parsed = ParseDetokenizeRequest(request.body);
  if (!parsed.ok()) {
    return connection->Respond(ErrorResponse(ToApiError(parsed.status()), request_id));
  }
  CallAndRespond<v1::DetokenizeResponse>(
      std::move(connection), channel_.get(), MetadataOf(request), *std::move(parsed), kUnaryTimeout,
      [](auto& stubs, auto... arguments) { stubs.inference->async()->Detokenize(arguments...); },
      [request_id](const absl::Status& status, const v1::DetokenizeResponse& response) {
        if (!status.ok()) return ErrorResponse(ToApiError(status), request_id);
        return JsonResponse(RenderDetokenizeResponse(response), request_id);
      });
}

void ApiHandler::Models(std::shared_ptr<Connection> connection, const HttpRequest& request,
                        std::string name, std::string request_id) {
  CallAndRespond<v1::ModelInfo>(
      std::move(connection), channel_.get(), MetadataOf(request), v1::GetModelInfoRequest(),
      kUnaryTimeout,
      [](auto& stubs, auto... arguments) { stubs.inference->async()->GetModelInfo(arguments...); },
      [name, request_id](const absl::Status& status, const v1::ModelInfo& info) {
        if (!status.ok()) return ErrorResponse(ToApiError(status), request_id);
        if (name.empty()) return JsonResponse(RenderModelList(info), request_id);
        absl::StatusOr<std::string> model = RenderModel(info, name);
        if (!model.ok()) return ErrorResponse(ToApiError(model.status()), request_id);
        return JsonResponse(*std::move(model), request_id);
      });
}

void ApiHandler::Ready(std::shared_ptr<Connection> connection) {
  if (draining_) return connection->Respond(TextResponse(503, "draining\n"));
  using grpc::health::v1::HealthCheckResponse;
  grpc::health::v1::HealthCheckRequest check;
  check.set_service(options_.health_service);
  CallAndRespond<HealthCheckResponse>(
      std::move(connection), channel_.get(), {}, std::move(check), kHealthTimeout,
      [](auto& stubs, auto... arguments) { stubs.health->async()->Check(arguments...); },
      [](const absl::Status& status, const HealthCheckResponse& response) {
        const bool ready = status.ok() && response.status() == HealthCheckResponse::SERVING;
        return ready ? TextResponse(200, "ready\n") : TextResponse(503, "not ready\n");
      });
}

HttpResponse ApiHandler::Started() const {
  const bool started = !options_.is_started || options_.is_started();
  return started ? TextResponse(200, "started\n") : TextResponse(503, "not started\n");
}

HttpResponse ApiHandler::Live() const {
  const bool live = !options_.is_live || options_.is_live();
  return live ? TextResponse(200, "live\n") : TextResponse(503, "not live\n");
}

HttpResponse ApiHandler::Metrics() const {
  HttpResponse response =
      TextResponse(200, options_.render_metrics ? options_.render_metrics() : "");
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
