// OpenAI's JSON (with vLLM's additions and our "attention") to and from tidal.v1 messages. Pure
// functions and two small accumulators; no I/O, no threads.
//
// Requests: a known field of the wrong type, a value the message cannot hold and a field that would
// change the meaning but is not supported give INVALID_ARGUMENT "field: must be ..., got ...".
// Unknown fields are ignored and null is absent. Value ranges are the service's to check.
#ifndef TIDAL_SERVER_OPENAI_OPENAI_CODEC_H_
#define TIDAL_SERVER_OPENAI_OPENAI_CODEC_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/tidal/v1/inference.pb.h"

namespace tidal {

enum class OpenAiApi { kCompletions, kChat };

// How log probabilities name tokens.
enum class TokenNames { kTexts, kIds };  // "Hello"; "token_id:9906"

// What the reply must know of the request.
struct ReplyOptions {
  OpenAiApi api = OpenAiApi::kCompletions;
  bool stream = false;
  bool include_usage = false;           // stream: a last chunk with usage
  bool continuous_usage_stats = false;  // stream, with include_usage: usage so far in every chunk
  bool logprobs = false;
  bool return_token_ids = false;
  std::optional<TokenNames> token_names = std::nullopt;  // or the operator's, else texts
  bool top_has_sampled = false;  // "top_logprobs" of a chat list the token that came in any case
  bool prompt_logprobs = false;  // in vLLM's form
  bool echo = false;             // of completions: with logprobs, those of the prompt come first
  std::string echo_text = "";    // of chats: comes before each content
  bool several_chats = false;    // each gives choices, as a prompt of a completion does
  bool include_reasoning = true;
  bool function_calls = false;  // a call is told of as a function_call, OpenAI's first form
  bool service_tier = false;    // asked for, so that the reply names one
  bool named_tool = false;      // it had to call a tool by name, which is no reason to have stopped
  uint32_t n = 1;
  size_t num_calls = 1;
  std::string max_tokens_field = "max_tokens";  // the name the client used
  std::string prompt_field = "";                // the same; empty: by the API
  std::string structure_field = "tools";        // the same; without one, tools need a structure
};

struct OpenAiRequest {
  std::vector<v1::GenerateRequest> calls;  // one a prompt
  std::string request_id;                  // of the body; empty when it has none
  ReplyOptions reply;
};

absl::StatusOr<OpenAiRequest> ParseCompletionRequest(absl::string_view body);
absl::StatusOr<OpenAiRequest> ParseChatRequest(absl::string_view body);
// vLLM's: `messages` is an array of conversations, each of which gives choices as a prompt of a
// completion does.
absl::StatusOr<OpenAiRequest> ParseChatBatchRequest(absl::string_view body);

absl::StatusOr<v1::TokenizeRequest> ParseTokenizeRequest(absl::string_view body);
absl::StatusOr<v1::DetokenizeRequest> ParseDetokenizeRequest(absl::string_view body);
std::string RenderTokenizeResponse(const v1::TokenizeResponse& response, bool with_strings);
std::string RenderDetokenizeResponse(const v1::DetokenizeResponse& response);

// {"object": "list", "data": [one a served name]}
std::string RenderModelList(const v1::ModelInfo& info);
// One of them; NOT_FOUND "model: ..." for another name.
absl::StatusOr<std::string> RenderModel(const v1::ModelInfo& info, absl::string_view name);

std::string RenderVersion(absl::string_view version);

}  // namespace tidal

#endif  // TIDAL_SERVER_OPENAI_OPENAI_CODEC_H_
