#include "tests/server/gateway/fake_inference.h"

#include <chrono>
#include <thread>
#include <utility>

namespace tidal {

FakeInference::FakeInference() {
  grpc::ServerBuilder builder;
  builder.RegisterService(static_cast<v1::Inference::Service*>(this));
  builder.RegisterService(static_cast<grpc::health::v1::Health::Service*>(this));
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.SetMaxReceiveMessageSize(-1);
  server_ = builder.BuildAndStart();
}

FakeInference::~FakeInference() { server_->Shutdown(std::chrono::system_clock::now()); }

std::shared_ptr<grpc::Channel> FakeInference::channel() {
  return server_->InProcessChannel(grpc::ChannelArguments());
}

std::string FakeInference::address() const { return "127.0.0.1:" + std::to_string(port_); }

void FakeInference::set_script(Script script) {
  std::lock_guard<std::mutex> lock(mutex_);
  script_ = std::move(script);
}

void FakeInference::set_tokenizer_info(std::string info) {
  std::lock_guard<std::mutex> lock(mutex_);
  tokenizer_info_ = std::move(info);
}

FakeInference::Script FakeInference::script() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return script_;
}

v1::GenerateRequest FakeInference::last_request() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return last_request_;
}

std::string FakeInference::last_authorization() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return last_authorization_;
}

void FakeInference::RememberAuthorization(const grpc::ServerContext& context) {
  const auto found = context.client_metadata().find("authorization");
  std::lock_guard<std::mutex> lock(mutex_);
  last_authorization_.clear();
  if (found == context.client_metadata().end()) return;
  last_authorization_.assign(found->second.data(), found->second.size());
}

grpc::Status FakeInference::Hello(grpc::ServerContext&, const v1::GenerateRequest& request,
                                  Writer& writer) {
  writer.Write(Prompt(3));
  for (uint32_t index = 0; index < request.n(); ++index) {
    writer.Write(Delta(index, "Hello"));
    writer.Write(Delta(index, " world"));
    writer.Write(Finish(index, v1::FINISH_REASON_STOP));
  }
  writer.Write(Usage(3, 2 * request.n()));
  return grpc::Status::OK;
}

v1::GenerateResponse FakeInference::Prompt(uint32_t tokens) {
  v1::GenerateResponse event;
  event.mutable_prompt()->set_model("fake");
  event.mutable_prompt()->set_prompt_tokens(tokens);
  return event;
}

v1::GenerateResponse FakeInference::Delta(uint32_t index, const std::string& text) {
  v1::GenerateResponse event;
  event.mutable_delta()->set_index(index);
  event.mutable_delta()->set_text(text);
  event.mutable_delta()->set_num_tokens(1);
  return event;
}

v1::GenerateResponse FakeInference::Finish(uint32_t index, v1::FinishReason reason) {
  v1::GenerateResponse event;
  event.mutable_finish()->set_index(index);
  event.mutable_finish()->set_reason(reason);
  return event;
}

v1::GenerateResponse FakeInference::Usage(uint32_t prompt_tokens, uint32_t completion_tokens) {
  v1::GenerateResponse event;
  event.mutable_usage()->set_prompt_tokens(prompt_tokens);
  event.mutable_usage()->set_completion_tokens(completion_tokens);
  event.mutable_usage()->mutable_attention()->set_mode(v1::ATTENTION_MODE_FULL);
  return event;
}

grpc::Status FakeInference::Generate(grpc::ServerContext* context,
                                     const v1::GenerateRequest* request, Writer* writer) {
  RememberAuthorization(*context);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    last_request_ = *request;
  }
  ++calls;
  const grpc::Status status = script()(*context, *request, *writer);
  // A write can fail before the context says that the call was cancelled.
  if (context->IsCancelled() || status.error_code() == grpc::StatusCode::CANCELLED) ++cancelled;
  return status;
}

grpc::Status FakeInference::Tokenize(grpc::ServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) {
  RememberAuthorization(*context);
  // Of a chat, one token a character of its contents.
  for (const v1::ChatMessage& message : request->chat().messages()) {
    for (const std::string& part : message.content_parts()) {
      for (const char c : part) response->add_token_ids(static_cast<unsigned char>(c));
    }
  }
  for (const char c : request->text()) {
    response->add_token_ids(static_cast<unsigned char>(c));
    if (request->return_token_strings()) response->add_token_strings(std::string(1, c));
  }
  response->set_max_model_len(1000);
  return grpc::Status::OK;
}

grpc::Status FakeInference::Detokenize(grpc::ServerContext* context,
                                       const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) {
  RememberAuthorization(*context);
  for (const uint32_t id : request->token_ids()) {
    if (id > 127) {
      return {grpc::StatusCode::INVALID_ARGUMENT, "token_ids[0]: must be below 128, got 200"};
    }
    response->mutable_text()->push_back(static_cast<char>(id));
  }
  return grpc::Status::OK;
}

grpc::Status FakeInference::GetModelInfo(grpc::ServerContext* context,
                                         const v1::GetModelInfoRequest* request,
                                         v1::ModelInfo* response) {
  RememberAuthorization(*context);
  response->set_model("fake");
  response->add_served_names("fake");
  response->add_served_names("org/alias");
  response->set_max_model_len(1000);
  response->set_created_unix_seconds(1700000000);
  if (!request->tokenizer_info()) return grpc::Status::OK;
  std::lock_guard<std::mutex> lock(mutex_);
  response->set_tokenizer_info(tokenizer_info_);
  return grpc::Status::OK;
}

grpc::Status FakeInference::Check(grpc::ServerContext*, const grpc::health::v1::HealthCheckRequest*,
                                  grpc::health::v1::HealthCheckResponse* response) {
  response->set_status(serving ? grpc::health::v1::HealthCheckResponse::SERVING
                               : grpc::health::v1::HealthCheckResponse::NOT_SERVING);
  return grpc::Status::OK;
}

grpc::Status FakeInference::Watch(
    grpc::ServerContext* context, const grpc::health::v1::HealthCheckRequest* request,
    grpc::ServerWriter<grpc::health::v1::HealthCheckResponse>* writer) {
  grpc::health::v1::HealthCheckResponse response;
  auto sent = grpc::health::v1::HealthCheckResponse::UNKNOWN;
  while (!context->IsCancelled()) {
    Check(context, request, &response);
    if (response.status() != sent) writer->Write(response);
    sent = response.status();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return grpc::Status::CANCELLED;
}

}  // namespace tidal
