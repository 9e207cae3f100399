#include "server/gateway/generate_exchange.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/http/connection.h"

namespace tidal {
namespace {

// A stream that the service has neither begun nor refused for so long begins without it: a prefill
// may take minutes, and whoever stands between us and the client gives up on a reply without a
// header. Refusals come in milliseconds, and so keep their own status.
constexpr std::chrono::milliseconds kHeadDelay(250);

}  // namespace

void GenerateExchange::Start(std::shared_ptr<Connection> connection,
                             std::shared_ptr<const ServerChannel::Stubs> stubs, ApiRequest request,
                             const CallMetadata& metadata, ResponseContext context,
                             size_t max_unsent_bytes, std::unique_ptr<HttpSpan> span) {
  std::shared_ptr<GenerateExchange> exchange(new GenerateExchange(
      connection, request, std::move(context), max_unsent_bytes, std::move(span)));
  exchange->StartCalls(stubs, std::move(request), metadata);
  if (exchange->stream_) exchange->BeginStreamSoon();
  connection->WatchClient([exchange] { exchange->ResumeReading(); },
                          [exchange] {
                            exchange->ended_ = true;
                            exchange->CancelCalls();
                            exchange->span_->End(499);
                          });
}

GenerateExchange::GenerateExchange(std::shared_ptr<Connection> connection,
                                   const ApiRequest& request, ResponseContext context,
                                   size_t max_unsent_bytes, std::unique_ptr<HttpSpan> span)
    : connection_(std::move(connection)),
      context_(std::move(context)),
      headers_(request.headers),
      stream_(request.stream),
      max_unsent_bytes_(max_unsent_bytes),
      span_(std::move(span)),
      reply_(request.make_reply(
          {context_.request_id, absl::ToUnixSeconds(absl::Now()), request.defaults})),
      paused_(request.calls.size()),
      started_(request.calls.size()),
      head_timer_(connection_->executor()) {}

void GenerateExchange::StartCalls(const std::shared_ptr<const ServerChannel::Stubs>& stubs,
                                  ApiRequest request, const CallMetadata& metadata) {
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
  const absl::Status status = reply_->OnEvent(call, event, &pending_);
  if (!status.ok()) return Fail(status);
  if (stream_) SendStream();
  ResumeReading();
}

void GenerateExchange::BeginStream() {
  streaming_ = true;
  head_timer_.cancel();
  HttpHeaders headers = StandardHeaders(context_);
  headers.insert(headers.end(), headers_.begin(), headers_.end());
  connection_->BeginStream(std::move(headers));
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
    if (stream_ && backlog() >= max_unsent_bytes_) return;
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
  const absl::Status status = reply_->Finish(&pending_);
  if (!status.ok()) return Fail(status);
  if (stream_) SendStream();
  ended_ = true;
  span_->End(200);
  if (stream_) return connection_->EndStream(/*keep_alive=*/true);
  HttpResponse response = JsonResponse(std::move(pending_), context_);
  response.headers.insert(response.headers.end(), headers_.begin(), headers_.end());
  connection_->Respond(std::move(response));
}

void GenerateExchange::Fail(const absl::Status& status) {
  ended_ = true;
  CancelCalls();
  const ApiError error = reply_->ErrorOf(status);
  if (!streaming_) {
    span_->End(error.http_status);
    return connection_->Respond(ErrorResponse(error, context_));
  }
  span_->End(200, absl::StatusCodeToString(status.code()));
  reply_->Fail(error, &pending_);
  SendStream();
  connection_->EndStream(/*keep_alive=*/false);
}

void GenerateExchange::CancelCalls() {
  for (const auto& call : calls_) call->Cancel();
}

}  // namespace tidal
