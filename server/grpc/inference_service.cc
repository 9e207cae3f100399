#include "server/grpc/inference_service.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "proto/tidal/v1/inference.grpc.pb.h"
#include "server/grpc/status.h"

namespace tidal {
namespace {

absl::Time Deadline(const grpc::CallbackServerContext& context) {
  const std::chrono::system_clock::time_point deadline = context.deadline();
  // gRPC's "no deadline" is the largest time it can express.
  if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteFuture();
  return absl::FromChrono(deadline);
}

// Streams one generation. At most one write is in flight; what arrives meanwhile is merged by the
// generation. Exactly one thread at a time is in Advance(): the one that gRPC told of a finished
// write, or the one that the generation woke, and neither comes before the other is done.
class GenerateReactor : public grpc::ServerWriteReactor<v1::GenerateResponse> {
 public:
  GenerateReactor(GenerationService* service, const grpc::CallbackServerContext& context,
                  const v1::GenerateRequest& request)
      : generation_(service->Start(request, Deadline(context))) {
    Advance();
  }

  void OnWriteDone(bool ok) override {
    if (!ok) generation_->Cancel();
    Advance();
  }

  // The client is gone or its deadline has passed.
  void OnCancel() override { generation_->Cancel(); }

  void OnDone() override { delete this; }

 private:
  void Advance() {
    Generation::Item item = generation_->TakeNext([this] { Advance(); });
    if (item.event.has_value()) {
      response_ = *std::move(item.event);
      StartWrite(&response_);
    } else if (item.end.has_value()) {
      Finish(ToGrpcStatus(*item.end));
    }
  }

  const std::shared_ptr<Generation> generation_;
  v1::GenerateResponse response_;  // being written
};

class InferenceService final : public v1::Inference::CallbackService {
 public:
  explicit InferenceService(GenerationService* service) : service_(service) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override {
    return new GenerateReactor(service_, *context, *request);  // deletes itself
  }

  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override {
    return OnIntake(context, response, [=, this] { return service_->Tokenize(*request); });
  }

  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override {
    return OnIntake(context, response, [=, this] { return service_->Detokenize(*request); });
  }

  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context,
                                         const v1::GetModelInfoRequest* /*request*/,
                                         v1::ModelInfo* response) override {
    *response = service_->GetModelInfo();
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  // Request and response live until the reactor finishes.
  template <typename Response, typename Function>
  grpc::ServerUnaryReactor* OnIntake(grpc::CallbackServerContext* context, Response* response,
                                     Function function) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    absl::Status posted = service_->RunOnIntake([reactor, response, function] {
      auto result = function();
      if (result.ok()) *response = *std::move(result);
      reactor->Finish(ToGrpcStatus(result.status()));
    });
    if (!posted.ok()) reactor->Finish(ToGrpcStatus(posted));
    return reactor;
  }

  GenerationService* service_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeInferenceService(GenerationService* service) {
  return std::make_unique<InferenceService>(service);
}

}  // namespace tidal
