// Events of the service, and what replies to OpenAI's clients make of them.
#ifndef TIDAL_TESTS_SERVER_OPENAI_REPLY_EVENTS_H_
#define TIDAL_TESTS_SERVER_OPENAI_REPLY_EVENTS_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"
#include "server/openai/openai_reply.h"

namespace tidal {

inline constexpr int64_t kCreated = 1700000000;

inline v1::GenerateResponse Prompt(uint32_t tokens, const std::vector<uint32_t>& ids = {}) {
  v1::GenerateResponse event;
  event.mutable_prompt()->set_model("m");
  event.mutable_prompt()->set_prompt_tokens(tokens);
  event.mutable_prompt()->mutable_token_ids()->Add(ids.begin(), ids.end());
  return event;
}

inline v1::GenerateResponse Delta(uint32_t index, const std::string& text,
                                  const std::vector<uint32_t>& ids = {}) {
  v1::GenerateResponse event;
  event.mutable_delta()->set_index(index);
  event.mutable_delta()->set_text(text);
  event.mutable_delta()->set_num_tokens(1);
  event.mutable_delta()->mutable_token_ids()->Add(ids.begin(), ids.end());
  return event;
}

inline void AddLogprob(v1::GenerateResponse& event, const std::string& text, float logprob,
                       const std::vector<std::pair<std::string, float>>& top = {}) {
  v1::TokenLogprobs& token = *event.mutable_delta()->add_logprobs();
  token.mutable_token()->set_token(text);
  token.mutable_token()->set_bytes(text);
  token.mutable_token()->set_logprob(logprob);
  for (const auto& [other, value] : top) {
    v1::Logprob& entry = *token.add_top();
    entry.set_token(other);
    entry.set_bytes(other);
    entry.set_logprob(value);
  }
}

inline v1::GenerateResponse Finish(uint32_t index, v1::FinishReason reason) {
  v1::GenerateResponse event;
  event.mutable_finish()->set_index(index);
  event.mutable_finish()->set_reason(reason);
  return event;
}

inline v1::GenerateResponse Usage() {
  v1::GenerateResponse event;
  v1::Usage& usage = *event.mutable_usage();
  usage.set_completion_tokens(2);
  usage.set_cached_tokens(1);
  usage.mutable_attention()->set_mode(v1::ATTENTION_MODE_TIDAL);
  usage.mutable_attention()->set_budget(64);
  usage.mutable_attention()->set_sparse_steps(1);
  usage.mutable_attention()->set_dense_steps(2);
  return event;
}

inline const nlohmann::json kUsage = {
    {"prompt_tokens", 3},
    {"completion_tokens", 2},
    {"total_tokens", 5},
    {"prompt_tokens_details", {{"cached_tokens", 1}}},
    {"attention", {{"mode", "tidal"}, {"budget", 64}, {"sparse_steps", 1}, {"dense_steps", 2}}}};

inline v1::GenerateResponse Reasoning(uint32_t index, const std::string& text) {
  v1::GenerateResponse event = Delta(index, "");
  event.mutable_delta()->set_reasoning(text);
  return event;
}

inline v1::GenerateResponse Call(uint32_t index, uint32_t call, const std::string& arguments,
                                 const std::string& id = "", const std::string& name = "") {
  v1::GenerateResponse event = Delta(index, "");
  v1::ToolCallDelta& piece = *event.mutable_delta()->add_tool_calls();
  piece.set_index(call);
  piece.set_id(id);
  piece.set_name(name);
  piece.set_arguments(arguments);
  return event;
}

inline nlohmann::json Collect(const ReplyOptions& options,
                              const std::vector<v1::GenerateResponse>& events) {
  CollectedReply reply(options, ReplyId(options.api, "x"), kCreated);
  std::string body;
  for (const auto& event : events) EXPECT_TRUE(reply.OnEvent(0, event, &body).ok());
  EXPECT_EQ(body, "") << "nothing before the end";
  EXPECT_EQ(reply.Finish(&body), absl::OkStatus());
  return nlohmann::json::parse(body);
}

// The JSON of each server-sent event; "[DONE]" as a string.
inline std::vector<nlohmann::json> Stream(ReplyOptions options,
                                          const std::vector<v1::GenerateResponse>& events) {
  options.stream = true;
  StreamedReply reply(options, ReplyId(options.api, "x"), kCreated);
  std::string out;
  for (const auto& event : events) EXPECT_TRUE(reply.OnEvent(0, event, &out).ok());
  EXPECT_TRUE(reply.Finish(&out).ok());
  std::vector<nlohmann::json> result;
  const std::vector<std::string> pieces = absl::StrSplit(out, "\n\n", absl::SkipEmpty());
  for (const std::string& event : pieces) {
    EXPECT_EQ(event.rfind("data: ", 0), 0u) << event;
    const std::string data = event.substr(6);
    result.push_back(data == "[DONE]" ? nlohmann::json(data) : nlohmann::json::parse(data));
  }
  return result;
}

}  // namespace tidal

#endif  // TIDAL_TESTS_SERVER_OPENAI_REPLY_EVENTS_H_
