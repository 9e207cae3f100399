// An Inference and a Health service whose answers a test scripts, on an in-process channel and on a
// port.
#ifndef TIDAL_TESTS_SERVER_GATEWAY_FAKE_INFERENCE_H_
#define TIDAL_TESTS_SERVER_GATEWAY_FAKE_INFERENCE_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "proto/grpc/health/v1/health.grpc.pb.h"
#include "proto/tidal/v1/inference.grpc.pb.h"

namespace tidal {

// Its script runs on threads of gRPC, one a call.
class FakeInference final : public v1::Inference::Service,
                            public grpc::health::v1::Health::Service {
 public:
  using Writer = grpc::ServerWriter<v1::GenerateResponse>;
  using Script =
      std::function<grpc::Status(grpc::ServerContext&, const v1::GenerateRequest&, Writer&)>;

  FakeInference();
  ~FakeInference() override;

  std::shared_ptr<grpc::Channel> channel();
  std::string address() const;  // HOST:PORT

  // Of calls that come from now on. The default script answers "Hello" and " world" to everything.
  void set_script(Script script);
  Script script() const;
  std::atomic<bool> serving = true;
  void set_tokenizer_info(std::string info);

  std::atomic<int> calls = 0;
  std::atomic<int> cancelled = 0;  // calls whose script saw the client leave
  v1::GenerateRequest last_request() const;
  std::string last_authorization() const;  // of any call; empty: it had none

  static grpc::Status Hello(grpc::ServerContext& context, const v1::GenerateRequest& request,
                            Writer& writer);

  // Events for scripts.
  static v1::GenerateResponse Prompt(uint32_t tokens);
  static v1::GenerateResponse Delta(uint32_t index, const std::string& text);
  static v1::GenerateResponse Finish(uint32_t index, v1::FinishReason reason);
  static v1::GenerateResponse Usage(uint32_t prompt_tokens, uint32_t completion_tokens);

 private:
  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        Writer* writer) override;
  grpc::Status Tokenize(grpc::ServerContext* context, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override;
  grpc::Status Detokenize(grpc::ServerContext* context, const v1::DetokenizeRequest* request,
                          v1::DetokenizeResponse* response) override;
  grpc::Status GetModelInfo(grpc::ServerContext* context, const v1::GetModelInfoRequest* request,
                            v1::ModelInfo* response) override;
  grpc::Status Check(grpc::ServerContext* context,
                     const grpc::health::v1::HealthCheckRequest* request,
                     grpc::health::v1::HealthCheckResponse* response) override;

  grpc::Status Watch(grpc::ServerContext* context,
                     const grpc::health::v1::HealthCheckRequest* request,
                     grpc::ServerWriter<grpc::health::v1::HealthCheckResponse>* writer) override;

  void RememberAuthorization(const grpc::ServerContext& context);

  mutable std::mutex mutex_;
  Script script_ = &FakeInference::Hello;
  v1::GenerateRequest last_request_;
  std::string last_authorization_;
  std::string tokenizer_info_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace tidal

#endif  // TIDAL_TESTS_SERVER_GATEWAY_FAKE_INFERENCE_H_
