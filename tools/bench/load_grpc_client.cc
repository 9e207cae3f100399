#include <grpcpp/grpcpp.h>

#include <memory>
#include <utility>

#include "absl/time/clock.h"
#include "proto/tidal/v1/inference.grpc.pb.h"
#include "tools/bench/load_client.h"

namespace tidal {
namespace {

v1::AttentionMode Mode(const std::string& name) {
  if (name == "full") return v1::ATTENTION_MODE_FULL;
  return name == "tidal" ? v1::ATTENTION_MODE_TIDAL : v1::ATTENTION_MODE_AUTO;
}

v1::GenerateRequest MakeRequest(const LoadOptions& options, const std::vector<uint32_t>& prompt) {
  v1::GenerateRequest request;
  request.mutable_token_ids()->mutable_ids()->Add(prompt.begin(), prompt.end());
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stopping()->set_max_tokens(static_cast<uint32_t>(options.max_tokens));
  request.mutable_stopping()->set_ignore_eos(true);
  request.mutable_attention()->set_mode(Mode(options.attention));
  request.mutable_attention()->set_budget(options.token_budget);
  return request;
}

}  // namespace

RequestSender MakeGrpcSender(const LoadOptions& options) {
  const auto channel = grpc::CreateChannel(options.target, grpc::InsecureChannelCredentials());
  const std::shared_ptr<v1::Inference::Stub> stub = v1::Inference::NewStub(channel);
  return [options, stub](const std::vector<uint32_t>& prompt, RequestTrace& trace) {
    grpc::ClientContext context;
    const auto reader = stub->Generate(&context, MakeRequest(options, prompt));
    v1::GenerateResponse event;
    while (reader->Read(&event)) {
      if (!event.has_delta() || event.delta().num_tokens() == 0) continue;
      trace.last_token = absl::Now();
      if (trace.num_tokens == 0) trace.first_token = trace.last_token;
      trace.num_tokens += static_cast<int32_t>(event.delta().num_tokens());
    }
    const grpc::Status status = reader->Finish();
    trace.status =
        absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  };
}

}  // namespace tidal
