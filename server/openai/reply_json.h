// The JSON objects that streamed and collected replies share.
#ifndef TIDAL_SERVER_OPENAI_REPLY_JSON_H_
#define TIDAL_SERVER_OPENAI_REPLY_JSON_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"
#include "server/openai/openai_reply.h"

namespace tidal {

using Json = nlohmann::ordered_json;

// Compact text; bytes that are no UTF-8 become U+FFFD.
std::string DumpJson(const Json& json);

Json UsageJson(const v1::Usage& usage);
// Our own part of it: how the output attended to its context.
Json AttentionJson(const v1::AttentionUsage& attention);
Json FinishReasonJson(v1::FinishReason reason, const ReplyOptions& options);
// Under both names that clients look for; nothing where there is none.
void AddReasoning(const std::string& reasoning, Json* message);
void AppendPiece(const v1::ToolCallDelta& piece, v1::ToolCallDelta* call);
// A whole call; and a piece of one, as the official client adds them up: id, type and name once,
// with the first. FunctionCallJson() is either in OpenAI's first form.
Json ToolCallJson(const v1::ToolCallDelta& call);
Json FunctionCallJson(const v1::ToolCallDelta& call);
Json ToolCallDeltaJson(const v1::ToolCallDelta& call);
// vLLM's stop_reason: the stop string or token id that ended the output, else null.
Json StopReasonJson(const v1::OutputFinish& finish);

// {"tokens", "token_logprobs", "top_logprobs", "text_offset"}
Json CompletionLogprobsJson(const std::vector<v1::TokenLogprobs>& tokens,
                            const std::vector<size_t>& text_offsets, TokenNames names);
// The same behind those of the prompt, whose first token has none. text_end: where the text of both
// ends, in code points.
Json EchoedLogprobsJson(const std::vector<v1::TokenLogprobs>& prompt,
                        const std::vector<v1::TokenLogprobs>& tokens,
                        const std::vector<size_t>& text_offsets, size_t text_end, TokenNames names);
// {"content": [{"token", "logprob", "bytes", "top_logprobs"}], "refusal": null}
// `top_has_sampled`: the token that came is among its alternatives, first if by this alone.
Json ChatLogprobsJson(const std::vector<v1::TokenLogprobs>& tokens, TokenNames names,
                      bool top_has_sampled = false);
// vLLM's: [null, {"<token id>": {"logprob", "rank", "decoded_token"}, ...}, ...], the prompt's own
// token always among them.
Json PromptLogprobsJson(const std::vector<v1::TokenLogprobs>& prompt);

// Where the text of each token of `delta` that has logprobs starts, in code points of the output;
// `offset` is where the delta starts and becomes where it ends. Text before the first such token is
// an echoed prompt.
std::vector<size_t> TextOffsets(const v1::OutputDelta& delta, size_t* offset);
size_t CodePoints(absl::string_view text);

}  // namespace tidal

#endif  // TIDAL_SERVER_OPENAI_REPLY_JSON_H_
