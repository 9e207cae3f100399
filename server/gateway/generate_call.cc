#include "server/gateway/generate_call.h"

#include <cstdint>
#include <utility>

#include "absl/strings/numbers.h"
#include "scheduler/retry_after.h"
#include "server/http/connection.h"

namespace tidal {

absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

GenerateCall::GenerateCall(std::shared_ptr<Connection> connection, v1::GenerateRequest request,
                           const CallMetadata& metadata, OnEvent on_event, OnDoneFn on_done)
    : connection_(std::move(connection)),
      request_(std::move(request)),
      on_event_(std::move(on_event)),
      on_done_(std::move(on_done)) {
  AddMetadata(metadata, &context_);
}

void GenerateCall::Start(std::shared_ptr<const ServerChannel::Stubs> stubs) {
  self_ = shared_from_this();
  stubs_ = std::move(stubs);
  stubs_->inference->async()->Generate(&context_, &request_, this);
  AddHold();
  held_ = true;
  reading_ = true;
  StartRead(&event_);
  StartCall();
}

void GenerateCall::Read() {
  if (reading_ || !held_) return;
  reading_ = true;
  StartRead(&event_);
}

void GenerateCall::Cancel() {
  on_event_ = nullptr;
  on_done_ = nullptr;
  context_.TryCancel();
  if (!reading_) ReleaseHold();
}

void GenerateCall::OnReadDone(bool ok) {
  connection_->Post([self = shared_from_this(), ok] { self->HandleRead(ok); });
}

void GenerateCall::HandleRead(bool ok) {
  reading_ = false;
  if (!ok || on_event_ == nullptr) return ReleaseHold();
  // A copy: the listener may cancel, which drops it.
  const OnEvent on_event = on_event_;
  on_event(event_);
}

void GenerateCall::ReleaseHold() {
  if (!held_) return;
  held_ = false;
  RemoveHold();
}

void GenerateCall::OnDone(const grpc::Status& grpc_status) {
  absl::Status status = FromGrpc(grpc_status);
  const auto& metadata = context_.GetServerTrailingMetadata();
  int64_t seconds = 0;
  if (const auto note = metadata.find(kRetryAfter);
      note != metadata.end() &&
      absl::SimpleAtoi(absl::string_view(note->second.data(), note->second.size()), &seconds)) {
    status = WithRetryAfter(std::move(status), seconds);
  }
  connection_->Post([self = shared_from_this(), status = std::move(status)] {
    const OnDoneFn on_done = std::move(self->on_done_);
    self->on_event_ = nullptr;
    self->on_done_ = nullptr;
    self->self_.reset();
    if (on_done) on_done(status);
  });
}

}  // namespace tidal
