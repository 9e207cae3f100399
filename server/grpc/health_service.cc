#include "server/grpc/health_service.h"

#include <grpcpp/grpcpp.h>

#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "proto/grpc/health/v1/health.grpc.pb.h"

namespace tidal {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using grpc::health::v1::HealthListRequest;
using grpc::health::v1::HealthListResponse;

}  // namespace

class HealthService::Impl final : public grpc::health::v1::Health::CallbackService {
 public:
  explicit Impl(const std::vector<std::string>& names) {
    for (const std::string& name : names) statuses_[name] = HealthCheckResponse::NOT_SERVING;
  }

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const HealthCheckRequest* request,
                                  HealthCheckResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const HealthCheckResponse::ServingStatus status = StatusOf(request->service());
    if (status == HealthCheckResponse::SERVICE_UNKNOWN) {
      reactor->Finish(
          grpc::Status(grpc::StatusCode::NOT_FOUND,
                       "service: must be a service of this server, got " + request->service()));
      return reactor;
    }
    response->set_status(status);
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  grpc::ServerWriteReactor<HealthCheckResponse>* Watch(grpc::CallbackServerContext* /*context*/,
                                                       const HealthCheckRequest* request) override {
    auto* watch = new WatchReactor(this, request->service());  // deletes itself
    absl::MutexLock lock(&mutex_);
    watches_.insert(watch);
    watch->Send(StatusOfLocked(request->service()));
    if (shut_down_) watch->End();
    return watch;
  }

  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const HealthListRequest* /*request*/,
                                 HealthListResponse* response) override {
    {
      absl::MutexLock lock(&mutex_);
      for (const auto& [name, status] : statuses_) {
        (*response->mutable_statuses())[name].set_status(status);
      }
    }
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  void SetStatus(const std::string& name, HealthCheckResponse::ServingStatus status) {
    absl::MutexLock lock(&mutex_);
    statuses_.at(name) = status;
    for (WatchReactor* watch : watches_) {
      if (watch->name() == name) watch->Send(status);
    }
  }

  void Shutdown() {
    absl::MutexLock lock(&mutex_);
    shut_down_ = true;
    for (WatchReactor* watch : watches_) watch->End();
  }

 private:
  // Sends the newest status; one write in flight. Its members are guarded by the service's mutex.
  class WatchReactor : public grpc::ServerWriteReactor<HealthCheckResponse> {
   public:
    WatchReactor(Impl* owner, std::string name) : owner_(owner), name_(std::move(name)) {}

    const std::string& name() const { return name_; }

    void Send(HealthCheckResponse::ServingStatus status) {
      wanted_ = status;
      Advance();
    }
    void End() {
      ending_ = true;
      Advance();
    }

    void OnWriteDone(bool ok) override {
      absl::MutexLock lock(&owner_->mutex_);
      writing_ = false;
      if (!ok) ending_ = true;
      Advance();
    }
    void OnCancel() override {
      absl::MutexLock lock(&owner_->mutex_);
      End();
    }
    void OnDone() override {
      {
        absl::MutexLock lock(&owner_->mutex_);
        owner_->watches_.erase(this);
      }
      delete this;
    }

   private:
    void Advance() {
      if (writing_ || finished_) return;
      if (wanted_ != response_.status()) {  // UNKNOWN at first, which is never wanted
        response_.set_status(wanted_);
        writing_ = true;
        StartWrite(&response_);
      } else if (ending_) {
        finished_ = true;
        Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the watch has ended"));
      }
    }

    Impl* const owner_;
    const std::string name_;
    HealthCheckResponse response_;
    HealthCheckResponse::ServingStatus wanted_ = HealthCheckResponse::UNKNOWN;
    bool writing_ = false, ending_ = false, finished_ = false;
  };

  HealthCheckResponse::ServingStatus StatusOf(const std::string& name) {
    absl::MutexLock lock(&mutex_);
    return StatusOfLocked(name);
  }
  HealthCheckResponse::ServingStatus StatusOfLocked(const std::string& name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto it = statuses_.find(name);
    return it == statuses_.end() ? HealthCheckResponse::SERVICE_UNKNOWN : it->second;
  }

  absl::Mutex mutex_;
  std::map<std::string, HealthCheckResponse::ServingStatus> statuses_ ABSL_GUARDED_BY(mutex_);
  bool shut_down_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<WatchReactor*> watches_ ABSL_GUARDED_BY(mutex_);
};

HealthService::HealthService(const std::vector<std::string>& names)
    : impl_(std::make_unique<Impl>(names)) {}
HealthService::~HealthService() = default;

void HealthService::SetServing(const std::string& name, bool serving) {
  impl_->SetStatus(name, serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING);
}

void HealthService::Shutdown() { impl_->Shutdown(); }

grpc::Service* HealthService::service() { return impl_.get(); }

}  // namespace tidal
