#include "server/gateway/generate_exchange.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/gateway/api_response.h"
#include "server/http/connection.h"
#include "server/openai/openai_error.h"

namespace tidal {
namespace {

// A stream that the service has neither begun nor refused for so long begins without it: a prefill
// may take minutes, and whoever stands between us and the client gives up on a reply without a
// header. Refusals come in milliseconds, and so keep their own status.
constexpr std::chrono::milliseconds kHeadDelay(250);

using Reply = std::variant<CollectedReply, StreamedReply>;

Reply MakeReply(const ReplyOptions& options, const std::string& request_id) {
  const std::string id = ReplyId(options.api, request_id);
  const int64_t created = absl::ToUnixSeconds(absl::Now());
  if (options.stream) return StreamedReply(options, id, created);
  return CollectedReply(options, id, created);
}

}  // namespace

void GenerateExchange::Start(std::shared_ptr<Connection> connection,
                             std::shared_ptr<const ServerChannel::Stubs> stubs,
                             OpenAiRequest request, const CallMetadata& metadata,
                             std::string request_id, size_t max_unsent_bytes,
                             std::unique_ptr<HttpSpan> span) {
  std::shared_ptr<GenerateExchange> exchange(new GenerateExchange(
      connection, request, std::move(request_id), max_unsent_bytes, std::move(span)));
  exchange->StartCalls(stubs, std::move(request), metadata);
  if (exchange->options_.stream) exchange->BeginStreamSoon();
  connection->WatchClient([exchange] { exchange->ResumeReading(); },
                          [exchange] {
                            exchange->ended_ = true;
                            exchange->CancelCalls();
                            exchange->span_->End(499);
                          });
}

GenerateExchange::GenerateExchange(std::shared_ptr<Connection> connection,
                                   const OpenAiRequest& request, std::string request_id,
                                   size_t max_unsent_bytes, std::unique_ptr<HttpSpan> span)
    : connection_(std::move(connection)),
      options_(request.reply),
      request_id_(std::move(request_id)),
      max_unsent_bytes_(max_unsent_bytes),
      span_(std::move(span)),
      reply_(MakeReply(options_, request_id_)),
      paused_(request.calls.size()),
      started_(request.calls.size()),
      head_timer_(connection_->executor()) {}

void GenerateExchange::StartCalls(const std::shared_ptr<const ServerChannel::Stubs>& stubs,
                                  OpenAiRequest request, const CallMetadata& metadata) {
  for (size_t i = 0; i < request.calls.size(); ++i) {
    calls_.push_back(std::make_shared<GenerateCall>(
        connection_, std::move(request.calls[i]), metadata,
        [self = shared_from_this(), i](const v1::GenerateResponse& event) {
          self->OnEvent(i, event);
        },
        [self = shared_from_this(), i](const absl::Status& status) { self->OnDone(i, status); }));
    calls_.back()->Start(stubs);
  }
}

void GenerateExchange::OnEvent(size_t call, const v1::GenerateResponse& event) {
  if (ended_) return;
  started_[call] = true;
  paused_[call] = true;
  absl::Status status;
  if (auto* collected = std::get_if<CollectedReply>(&reply_)) {
    status = collected->OnEvent(call, event);
  } else {
    status = std::get<StreamedReply>(reply_).OnEvent(call, event, &pending_);
    if (status.ok()) SendStream();
  }
  if (!status.ok()) return Fail(status);
  ResumeReading();
}

void GenerateExchange::BeginStream() {
  streaming_ = true;
  head_timer_.cancel();
  connection_->BeginStream(request_id_);
}

void GenerateExchange::BeginStreamSoon() {
  head_timer_.expires_after(kHeadDelay);
  head_timer_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    const std::shared_ptr<GenerateExchange> self = weak.lock();
    if (error || self == nullptr || self->ended_ || self->streaming_) return;
    self->BeginStream();
    self->SendStream();
  });
}

// The head of a stream commits to status 200, so it waits until the service has accepted every call
// (or until there is too much to hold back, or the client has waited long enough).
void GenerateExchange::SendStream() {
  if (!streaming_) {
    const bool all_started = std::find(started_.begin(), started_.end(), false) == started_.end();
    if (!all_started && pending_.size() < max_unsent_bytes_) return;
    BeginStream();
  }
  connection_->Write(pending_);
  pending_.clear();
}

size_t GenerateExchange::backlog() const { return pending_.size() + connection_->unsent_bytes(); }

void GenerateExchange::ResumeReading() {
  for (size_t i = 0; i < calls_.size() && !ended_; ++i) {
    if (!paused_[i]) continue;
    if (options_.stream && backlog() >= max_unsent_bytes_) return;
    paused_[i] = false;
    calls_[i]->Read();
  }
}

void GenerateExchange::OnDone(size_t call, const absl::Status& status) {
  if (ended_) return;
  // The reason is the server's own, or what the network says of one that is gone: "Socket closed".
  if (absl::IsUnavailable(status) && started_[call]) {
    return Fail(
        absl::UnavailableError(absl::StrCat("the answer was cut short: ", status.message())));
  }
  if (!status.ok()) return Fail(status);
  if (++num_done_ == calls_.size()) Finish();
}

void GenerateExchange::Finish() {
  if (auto* collected = std::get_if<CollectedReply>(&reply_)) {
    absl::StatusOr<std::string> body = collected->Finish();
    if (!body.ok()) return Fail(body.status());
    ended_ = true;
    span_->End(200);
    return connection_->Respond(JsonResponse(*std::move(body), request_id_));
  }
  const absl::Status status = std::get<StreamedReply>(reply_).Finish(&pending_);
  if (!status.ok()) return Fail(status);
  SendStream();
  ended_ = true;
  span_->End(200);
  connection_->EndStream(/*keep_alive=*/true);
}

void GenerateExchange::Fail(const absl::Status& status) {
  ended_ = true;
  CancelCalls();
  const ApiError error = ToApiError(status, options_);
  if (!streaming_) {
    span_->End(error.http_status);
    return connection_->Respond(ErrorResponse(error, request_id_));
  }
  span_->End(200, absl::StatusCodeToString(status.code()));
  pending_ += SseEvent(RenderError(error));
  SendStream();
  connection_->EndStream(/*keep_alive=*/false);
}

void GenerateExchange::CancelCalls() {
  for (const auto& call : calls_) call->Cancel();
}

}  // namespace tidal
