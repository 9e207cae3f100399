// From the events of a request's calls to OpenAI's replies: one JSON object, or server-sent events.
#ifndef TIDAL_SERVER_OPENAI_OPENAI_REPLY_H_
#define TIDAL_SERVER_OPENAI_OPENAI_REPLY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"
#include "server/openai/api_reply.h"
#include "server/openai/openai_codec.h"

namespace tidal {

// "cmpl-<request_id>" or "chatcmpl-<request_id>".
std::string ReplyId(OpenAiApi api, absl::string_view request_id);

// "data: <json>\n\n"
std::string SseEvent(absl::string_view json);

// What both kinds of reply keep. Call i is prompt i; its output k is choice i * n + k.
struct ReplyState {
  ReplyState(ReplyOptions reply_options, std::string reply_id, int64_t created_seconds);

  size_t ChoiceOf(size_t call, uint32_t index) const { return call * options.n + index; }
  // Do the log probabilities of each output begin with the prompt's?
  bool echoes_logprobs() const { return options.echo && options.logprobs; }
  // Does what is told of the prompt stand in each choice? Else beside them: there is one prompt.
  bool prompt_by_choice() const {
    return options.api == OpenAiApi::kCompletions || options.several_chats;
  }
  // INTERNAL where the event does not fit the request: the service broke the contract.
  // INVALID_ARGUMENT where the log probabilities of all prompts are too many for one reply.
  absl::Status Accept(size_t call, const v1::GenerateResponse& event);
  // INTERNAL while an output has not finished or a call has sent no usage.
  absl::Status CheckComplete() const;

  const ReplyOptions options;
  const std::string id;
  const int64_t created;  // Unix seconds
  std::string model;
  v1::Usage usage;  // summed over the calls
  uint32_t streamed_tokens = 0;
  std::vector<std::vector<uint32_t>> prompt_token_ids;  // by call, with return_token_ids
  // By call, where they are wanted; and how many log probabilities that makes in all choices.
  std::vector<std::vector<v1::TokenLogprobs>> prompt_logprobs;
  int64_t num_prompt_logprobs = 0;
  std::vector<bool> finished;  // by choice
  size_t num_usages = 0;

 private:
  absl::Status TakePromptLogprobs(size_t call, const v1::PromptInfo& prompt);
};

// A reply that is streamed.
class StreamedReply : public ApiReply {
 public:
  StreamedReply(ReplyOptions options, std::string id, int64_t created);

  absl::Status OnEvent(size_t call, const v1::GenerateResponse& event, std::string* out) override;
  absl::Status Finish(std::string* out) override;  // usage if asked for, then [DONE]
  ApiError ErrorOf(const absl::Status& status) const override;
  void Fail(const ApiError& error, std::string* out) override;

 private:
  void AppendRoles(size_t call, std::string* out) const;
  // Whether a chunk of it says anything to this client.
  bool Says(const v1::OutputDelta& delta) const;
  // What a chat's chunk says.
  nlohmann::ordered_json ChatDelta(const v1::OutputDelta& delta) const;
  // One chunk of one output; either may be null.
  void AppendOutput(size_t choice, const v1::OutputDelta* delta, const v1::OutputFinish* finish,
                    std::string* out);
  void AppendChunk(nlohmann::ordered_json choice, std::string* out) const;
  // Of the delta, if there is one, and before the first those of an echoed prompt.
  nlohmann::ordered_json Logprobs(size_t choice, const v1::OutputDelta* delta);
  // The first chunk of each completions choice carries the prompt's ids, where they are asked for.
  void AddPromptTokenIds(size_t choice, nlohmann::ordered_json* out);

  ReplyState state_;
  std::vector<size_t> text_offset_;  // by choice: code points so far
  std::vector<bool> sent_prompt_ids_, sent_prompt_logprobs_;
  // By choice: the last delta, until the finish that is the call's next event.
  std::vector<std::optional<v1::OutputDelta>> last_delta_;
};

// A reply in one piece.
class CollectedReply : public ApiReply {
 public:
  CollectedReply(ReplyOptions options, std::string id, int64_t created);

  absl::Status OnEvent(size_t call, const v1::GenerateResponse& event, std::string* out) override;
  absl::Status Finish(std::string* out) override;
  ApiError ErrorOf(const absl::Status& status) const override;
  void Fail(const ApiError& error, std::string* out) override;

 private:
  struct Choice {
    std::string text, reasoning;
    std::vector<v1::ToolCallDelta> tool_calls;  // whole
    std::vector<uint32_t> token_ids;
    std::vector<v1::TokenLogprobs> logprobs;
    std::vector<size_t> logprob_offsets;  // by token: where its text starts, in code points
    size_t text_offset = 0;
    v1::OutputFinish finish;
  };
  nlohmann::ordered_json RenderChoice(size_t index) const;
  // What vLLM tells of the prompt, null where it is not asked for.
  void AddPrompt(size_t call, nlohmann::ordered_json* json) const;

  ReplyState state_;
  std::vector<Choice> choices_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_OPENAI_OPENAI_REPLY_H_
