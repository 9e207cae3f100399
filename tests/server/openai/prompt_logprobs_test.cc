// Log probabilities of prompts, echoes and tokens by their ids: requests and replies.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/openai/openai_codec.h"
#include "server/openai/openai_reply.h"
#include "tests/server/openai/reply_events.h"

namespace tidal {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

TEST(OpenAiPromptLogprobs, LogProbabilitiesOfPrompts) {
  const auto completion = ParseCompletionRequest(
      R"({"prompt": "Hi", "echo": true, "logprobs": 2, "max_tokens": 0, "prompt_logprobs": 3,
          "truncate_prompt_tokens": -1, "truncation_side": "left",
          "return_tokens_as_token_ids": true})");
  ASSERT_TRUE(completion.ok()) << completion.status();
  const v1::GenerateRequest& call = completion->calls[0];
  EXPECT_TRUE(call.output().echo());
  EXPECT_EQ(call.output().logprobs(), 2);
  EXPECT_EQ(call.output().prompt_logprobs(), 3);
  EXPECT_TRUE(call.stopping().has_max_tokens());
  EXPECT_EQ(call.stopping().max_tokens(), 0);
  EXPECT_EQ(call.truncate_prompt_tokens(), -1);
  EXPECT_FALSE(call.truncate_prompt_end());
  EXPECT_TRUE(completion->reply.echo);
  EXPECT_TRUE(completion->reply.prompt_logprobs);
  EXPECT_EQ(completion->reply.token_names, TokenNames::kIds);
  const auto plain = ParseCompletionRequest(R"({"prompt": "Hi"})");
  EXPECT_FALSE(plain->calls[0].output().has_prompt_logprobs());
  EXPECT_FALSE(plain->calls[0].has_truncate_prompt_tokens());
  const auto beginning = ParseCompletionRequest(
      R"({"prompt": "Hi", "truncate_prompt_tokens": 1, "truncation_side": "right"})");
  EXPECT_TRUE(beginning->calls[0].truncate_prompt_end());
  EXPECT_EQ(plain->reply.token_names, std::nullopt);
}

// As vLLM does: what goes on is put together.
TEST(OpenAiPromptLogprobs, AChatsEchoIsTheLastMessageOfTheReplysRole) {
  const auto echo = [](const std::string& last, const std::string& more) {
    const auto request =
        ParseChatRequest(absl::StrCat(R"({"messages": [{"role": "user", "content": "Hi"}, )", last,
                                      R"(], "echo": true)", more, "}"));
    EXPECT_TRUE(request.ok()) << request.status();
    EXPECT_FALSE(request->calls[0].output().echo()) << "that would be the whole prompt";
    return request->reply.echo_text;
  };
  const std::string assistant = R"({"role": "assistant", "content": "Well"})";
  EXPECT_EQ(echo(assistant, R"(, "continue_final_message": true)"), "Well");
  EXPECT_EQ(echo(assistant, ""), "Well");
  EXPECT_EQ(echo(R"({"role": "assistant", "content": [{"type": "text", "text": "a"},
                                                      {"type": "text", "text": "b"}]})",
                 ""),
            "a\nb");
  EXPECT_EQ(echo(R"({"role": "assistant"})", ""), "");
  EXPECT_EQ(echo(R"({"role": "user", "content": "Bye"})", ""), "");
  EXPECT_EQ(echo(R"({"role": "user", "content": "Bye"})", R"(, "add_generation_prompt": false)"),
            "Bye");
}

// Two tokens, of which the second could have been another.
v1::GenerateResponse ScoredPrompt() {
  v1::GenerateResponse event = Prompt(2);
  const auto logprob = [](uint32_t id, const std::string& text, float value, uint32_t rank) {
    v1::Logprob out;
    out.set_token_id(id);
    out.set_token(text);
    out.set_bytes(text);
    out.set_logprob(value);
    out.set_rank(rank);
    return out;
  };
  *event.mutable_prompt()->add_logprobs()->mutable_token() = logprob(7, "Hé", 0, 0);
  v1::TokenLogprobs& second = *event.mutable_prompt()->add_logprobs();
  *second.mutable_token() = logprob(9, "llo", -INFINITY, 40);
  *second.add_top() = logprob(3, "y", -0.5f, 1);
  return event;
}

const json kPromptLogprobs = {
    nullptr,
    {{"9", {{"logprob", -9999.0}, {"rank", 40}, {"decoded_token", "llo"}}},
     {"3", {{"logprob", -0.5}, {"rank", 1}, {"decoded_token", "y"}}}}};

TEST(OpenAiPromptLogprobs, EchoedLogProbabilitiesComeFirst) {
  v1::GenerateResponse delta = Delta(0, "Héllo!");
  AddLogprob(delta, "!", -1, {{"?", -0.25f}});
  const std::vector<v1::GenerateResponse> events = {ScoredPrompt(), delta,
                                                    Finish(0, v1::FINISH_REASON_LENGTH), Usage()};
  const json expected = {
      {"text_offset", {0, 2, 5}},
      {"token_logprobs", {nullptr, -9999.0, -1.0}},
      {"tokens", {"Hé", "llo", "!"}},
      {"top_logprobs", {nullptr, {{"y", -0.5}, {"llo", -9999.0}}, {{"?", -0.25}, {"!", -1.0}}}}};
  const ReplyOptions options = {.logprobs = true, .echo = true};
  EXPECT_EQ(Collect(options, events)["choices"][0]["logprobs"], expected);
  const std::vector<json> stream = Stream(options, events);
  EXPECT_EQ(stream[0]["choices"][0]["logprobs"], expected);
  EXPECT_EQ(stream[1]["choices"][0]["logprobs"], nullptr) << "once";
}

// With max_tokens 0; the second time the text lacks the first token, a special one.
TEST(OpenAiPromptLogprobs, ThePromptAlone) {
  for (const auto& [text, offsets] :
       {std::pair("Héllo", json({0, 2})), std::pair("llo", json({0, 0}))}) {
    v1::GenerateResponse delta = Delta(0, text);
    delta.mutable_delta()->set_num_tokens(0);
    delta.mutable_delta()->set_last(true);
    const std::vector<v1::GenerateResponse> events = {ScoredPrompt(), delta,
                                                      Finish(0, v1::FINISH_REASON_LENGTH), Usage()};
    const ReplyOptions options = {.logprobs = true, .echo = true};
    const json choice = Collect(options, events)["choices"][0];
    EXPECT_EQ(choice["text"], text);
    EXPECT_EQ(choice["finish_reason"], "length");
    EXPECT_EQ(choice["logprobs"]["text_offset"], offsets);
    EXPECT_EQ(choice["logprobs"]["token_logprobs"], json({nullptr, -9999.0}));
    EXPECT_EQ(Stream(options, events)[0]["choices"][0]["logprobs"], choice["logprobs"]);
  }
}

TEST(OpenAiPromptLogprobs, PromptLogprobsAreVllms) {
  const std::vector<v1::GenerateResponse> events = {ScoredPrompt(),
                                                    Delta(0, "!"),
                                                    Delta(1, "?"),
                                                    Finish(0, v1::FINISH_REASON_STOP),
                                                    Finish(1, v1::FINISH_REASON_STOP),
                                                    Usage()};
  const json completion = Collect({.prompt_logprobs = true, .n = 2}, events);
  EXPECT_EQ(completion["choices"][0]["prompt_logprobs"], kPromptLogprobs);
  EXPECT_EQ(completion["choices"][1]["prompt_logprobs"], kPromptLogprobs);
  EXPECT_EQ(completion["choices"][0]["logprobs"], nullptr);
  const json chat = Collect({.api = OpenAiApi::kChat, .prompt_logprobs = true, .n = 2}, events);
  EXPECT_EQ(chat["prompt_logprobs"], kPromptLogprobs);
  EXPECT_FALSE(chat["choices"][0].contains("prompt_logprobs"));
}

TEST(OpenAiPromptLogprobs, TokensAsTokenIds) {
  v1::GenerateResponse delta = Delta(0, "!");
  AddLogprob(delta, "!", -1, {{"!", -0.25f}});
  v1::TokenLogprobs& token = *delta.mutable_delta()->mutable_logprobs(0);
  token.mutable_token()->set_token_id(33);
  token.mutable_top(0)->set_token_id(44);
  const std::vector<v1::GenerateResponse> events = {Prompt(1), delta,
                                                    Finish(0, v1::FINISH_REASON_STOP), Usage()};
  const json completion = Collect({.logprobs = true, .token_names = TokenNames::kIds},
                                  events)["choices"][0]["logprobs"];
  EXPECT_EQ(completion["tokens"], json({"token_id:33"}));
  EXPECT_EQ(completion["top_logprobs"],
            json::array({{{"token_id:44", -0.25}, {"token_id:33", -1.0}}}));
  EXPECT_EQ(completion["text_offset"], json::array({0}));
  const json chat =
      Collect({.api = OpenAiApi::kChat, .logprobs = true, .token_names = TokenNames::kIds},
              events)["choices"][0]["logprobs"]["content"][0];
  EXPECT_EQ(chat["token"], "token_id:33");
  EXPECT_EQ(chat["bytes"], json({33})) << "of the text";
  EXPECT_EQ(chat["top_logprobs"][0]["token"], "token_id:44");
}

TEST(OpenAiPromptLogprobs, AChatsEchoComesBeforeTheContent) {
  const std::vector<v1::GenerateResponse> events = {Prompt(1), Delta(0, " there"),
                                                    Finish(0, v1::FINISH_REASON_STOP), Usage()};
  const ReplyOptions options = {.api = OpenAiApi::kChat, .echo_text = "Hello"};
  EXPECT_EQ(Collect(options, events)["choices"][0]["message"]["content"], "Hello there");
  std::string content;
  for (const json& event : Stream(options, events)) {
    if (!event.is_object()) continue;
    content += event["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(content, "Hello there");
}

TEST(OpenAiPromptLogprobs, LogProbabilitiesOfAllPromptsAreBounded) {
  StreamedReply reply({.logprobs = true, .echo = true, .num_calls = 2}, "x", kCreated);
  v1::GenerateResponse event = Prompt(1 << 20);
  for (int i = 0; i < 1 << 20; ++i) event.mutable_prompt()->add_logprobs()->add_top();
  std::string out;
  EXPECT_TRUE(reply.OnEvent(0, event, &out).ok());
  EXPECT_TRUE(reply.OnEvent(0, event, &out).ok());
  const absl::Status status = reply.OnEvent(1, event, &out);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("output.logprobs: must make at most 4194304"));
  // A service that does not know of them.
  StreamedReply other({.logprobs = true, .echo = true}, "x", kCreated);
  EXPECT_EQ(other.OnEvent(0, Prompt(2), &out).code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace tidal
