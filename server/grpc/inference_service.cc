#include "server/grpc/inference_service.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "proto/tidal/v1/inference.grpc.pb.h"
#include "server/generation/request_limits.h"
#include "server/grpc/status.h"

namespace tidal {
namespace {

// The values of a key, joined as those of an HTTP header are.
std::string Metadata(const grpc::CallbackServerContext& context, const char* key) {
  std::string joined;
  const auto [begin, end] = context.client_metadata().equal_range(key);
  for (auto entry = begin; entry != end; ++entry) {
    absl::StrAppend(&joined, joined.empty() ? "" : ",",
                    absl::string_view(entry->second.data(), entry->second.size()));
  }
  return joined;
}

absl::string_view Authorization(const grpc::CallbackServerContext& context) {
  const auto found = context.client_metadata().find("authorization");
  if (found == context.client_metadata().end()) return "";
  return absl::string_view(found->second.data(), found->second.size());
}

absl::Time DeadlineOf(const grpc::CallbackServerContext& context) {
  const std::chrono::system_clock::time_point deadline = context.deadline();
  // gRPC's "no deadline" is the largest time it can express.
  return deadline == std::chrono::system_clock::time_point::max() ? absl::InfiniteFuture()
                                                                  : absl::FromChrono(deadline);
}

// gRPC answers UNIMPLEMENTED to a message it cannot parse, as if there were no such method; so the
// methods take bytes and parse them here.
template <typename Message>
absl::Status Parse(const grpc::ByteBuffer& bytes, Message* message) {
  grpc::ByteBuffer copy(bytes);  // of the reference; reading it empties it
  if (grpc::SerializationTraits<Message>::Deserialize(&copy, message).ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("message: must be a ", message->GetTypeName(),
                                                 " whose strings are UTF-8, got other bytes"));
}

template <typename Message>
grpc::Status Serialize(const Message& message, grpc::ByteBuffer* bytes) {
  bytes->Clear();  // the writer wants it empty
  bool own_buffer = false;
  return grpc::SerializationTraits<Message>::Serialize(message, bytes, &own_buffer);
}

// Streams one generation. At most one write is in flight; what arrives meanwhile is merged by the
// generation. Exactly one thread at a time is in Advance(): the one that gRPC told of a finished
// write, or the one that the generation woke, and neither comes before the other is done.
class GenerateReactor : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  GenerateReactor(GenerationService* service, grpc::CallbackServerContext* context, Caller caller,
                  v1::GenerateRequest request)
      : context_(context), generation_(service->Start(std::move(request), std::move(caller))) {
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
      const grpc::Status serialized = Serialize(*item.event, &response_);
      TIDAL_CHECK(serialized.ok());
      StartWrite(&response_);
    } else if (item.end.has_value()) {
      Finish(ToGrpcStatus(*item.end, context_));
    }
  }

  grpc::CallbackServerContext* const context_;
  const std::shared_ptr<Generation> generation_;
  grpc::ByteBuffer response_;  // being written
};

// The answer to a request that could not be read, or whose caller is not known.
class RefusingReactor : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  explicit RefusingReactor(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

using Contract = v1::Inference;
using RawService = Contract::WithRawCallbackMethod_Generate<
    Contract::WithRawCallbackMethod_Tokenize<Contract::WithRawCallbackMethod_Detokenize<
        Contract::WithRawCallbackMethod_GetModelInfo<Contract::Service>>>>;

class InferenceService final : public RawService {
 public:
  InferenceService(GenerationService* service, std::shared_ptr<const ApiKeys> api_keys)
      : service_(service), api_keys_(std::move(api_keys)) {}

  // Reactors delete themselves.
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Generate(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* bytes) override {
    absl::StatusOr<Caller> caller = CallerOf(*context);
    if (!caller.ok()) return new RefusingReactor(caller.status());
    v1::GenerateRequest request;
    if (absl::Status status = Parse(*bytes, &request); !status.ok()) {
      return new RefusingReactor(status);
    }
    return new GenerateReactor(service_, context, *std::move(caller), std::move(request));
  }

  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override {
    return AnswerOnQueryThread<v1::TokenizeRequest>(
        context, request, response, [this](const auto& r) { return service_->Tokenize(r); });
  }

  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override {
    return AnswerOnQueryThread<v1::DetokenizeRequest>(
        context, request, response, [this](const auto& r) { return service_->Detokenize(r); });
  }

  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    v1::GetModelInfoRequest message;
    absl::Status status = CallerOf(*context).status();
    if (status.ok()) status = Parse(*request, &message);
    reactor->Finish(status.ok() ? Serialize(service_->GetModelInfo(message), response)
                                : ToGrpcStatus(status));
    return reactor;
  }

 private:
  absl::StatusOr<Caller> CallerOf(const grpc::CallbackServerContext& context) const {
    Caller caller;
    caller.deadline = DeadlineOf(context);
    caller.trace = ParseTraceContext(Metadata(context, kTraceParentHeader),
                                     Metadata(context, kTraceStateHeader));
    if (api_keys_ == nullptr) return caller;
    TIDAL_ASSIGN_OR_RETURN(caller.tenant, api_keys_->TenantOf(Authorization(context)));
    return caller;
  }

  // Parses, answers and serializes on a query thread. Both buffers live until the reactor finishes.
  template <typename Request, typename Function>
  grpc::ServerUnaryReactor* AnswerOnQueryThread(grpc::CallbackServerContext* context,
                                                const grpc::ByteBuffer* request,
                                                grpc::ByteBuffer* response, Function function) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const absl::StatusOr<Caller> caller = CallerOf(*context);
    absl::Status status = caller.status();
    if (status.ok() && request->Length() > kMaxTokenQueryBytes) {
      status = absl::InvalidArgumentError(absl::StrCat(
          "message: must be at most ", kMaxTokenQueryBytes, " bytes, got ", request->Length()));
    }
    if (status.ok()) {
      status = service_->RunQuery(
          [context, reactor, request, response, function] {
            // Its client may have gone while it waited.
            if (context->IsCancelled()) return reactor->Finish(grpc::Status::CANCELLED);
            Request message;
            absl::Status parsed = Parse(*request, &message);
            if (!parsed.ok()) return reactor->Finish(ToGrpcStatus(parsed));
            const auto result = function(message);
            reactor->Finish(result.ok() ? Serialize(*result, response)
                                        : ToGrpcStatus(result.status()));
          },
          caller->tenant);
    }
    if (!status.ok()) reactor->Finish(ToGrpcStatus(status, context));
    return reactor;
  }

  GenerationService* service_;
  const std::shared_ptr<const ApiKeys> api_keys_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeInferenceService(GenerationService* service,
                                                    std::shared_ptr<const ApiKeys> api_keys) {
  return std::make_unique<InferenceService>(service, std::move(api_keys));
}

}  // namespace tidal
