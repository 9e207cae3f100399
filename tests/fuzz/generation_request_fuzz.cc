// libFuzzer entry: no message may crash the conversion into the scheduler's terms; what it accepts
// keeps the limits that the scheduler and the engine rely on.
#include <google/protobuf/stubs/logging.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "server/generation/generation_request.h"
#include "tests/server/generation/service_harness.h"

namespace {

void Check(bool condition) {
  if (!condition) __builtin_trap();
}

void CheckAccepted(const tidal::GenerationRequest& request, const tidal::ServedModel& model) {
  const auto prompt_tokens = static_cast<int64_t>(request.prompt.size());
  Check(prompt_tokens >= 1);
  Check(prompt_tokens + request.stop.max_tokens <= model.info.max_model_len);
  Check(request.stop.max_tokens >= 0 && request.stop.min_tokens <= request.stop.max_tokens);
  Check(request.n >= 1 && request.n <= static_cast<int32_t>(tidal::kMaxOutputs));
  for (const tidal::TokenId id : request.prompt) {
    Check(id < static_cast<uint32_t>(model.info.vocab_size));
  }
  for (const tidal::TokenId id : request.stop.stop_token_ids) {
    Check(id < static_cast<uint32_t>(model.info.vocab_size));
  }
  Check(request.sampling.Validate(model.info.vocab_size).ok());
  Check(request.attention.token_budget <= model.info.max_token_budget);
  Check(!request.request_id.empty() && request.request_id.size() <= tidal::kMaxRequestIdBytes);
  Check(request.cache_salt.size() <= tidal::kMaxCacheSaltBytes);
  Check(request.output.stop_strings.size() <= static_cast<size_t>(tidal::kMaxStopStrings));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const tidal::ServedModel* const model = [] {
    google::protobuf::SetLogHandler(nullptr);  // a line for each string that is not UTF-8
    return tidal::MakeTestModel().release();
  }();
  tidal::v1::GenerateRequest message;
  if (!message.ParseFromArray(data, static_cast<int>(size))) return 0;
  const auto request = tidal::ParseGenerationRequest(message, *model);
  if (request.ok()) {
    CheckAccepted(*request, *model);
  } else {
    Check(absl::IsInvalidArgument(request.status()) || absl::IsNotFound(request.status()));
    Check(!request.status().message().empty());
  }
  return 0;
}
