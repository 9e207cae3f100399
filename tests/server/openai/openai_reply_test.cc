// Replies: the exact JSON and the exact server-sent events.
#include "server/openai/openai_reply.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"
#include "tests/server/openai/reply_events.h"

namespace tidal {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

TEST(OpenAiReply, Completion) {
  v1::GenerateResponse finish = Finish(0, v1::FINISH_REASON_STOP);
  finish.mutable_finish()->set_stop_string("END");
  EXPECT_EQ(Collect({}, {Prompt(3), Delta(0, "Héllo"), finish, Usage()}),
            json({{"id", "cmpl-x"},
                  {"object", "text_completion"},
                  {"created", kCreated},
                  {"model", "m"},
                  {"choices", json::array({{{"index", 0},
                                            {"text", "Héllo"},
                                            {"logprobs", nullptr},
                                            {"finish_reason", "stop"},
                                            {"stop_reason", "END"},
                                            {"token_ids", nullptr},
                                            {"prompt_logprobs", nullptr},
                                            {"prompt_token_ids", nullptr}}})},
                  {"usage", kUsage}}));
}

TEST(OpenAiReply, Chat) {
  v1::GenerateResponse finish = Finish(0, v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(Collect({.api = OpenAiApi::kChat}, {Prompt(3), Delta(0, "Hi"), finish, Usage()}),
            json({{"id", "chatcmpl-x"},
                  {"object", "chat.completion"},
                  {"created", kCreated},
                  {"model", "m"},
                  {"choices", json::array({{{"index", 0},
                                            {"message",
                                             {{"role", "assistant"},
                                              {"content", "Hi"},
                                              {"refusal", nullptr},
                                              {"reasoning", nullptr}}},
                                            {"logprobs", nullptr},
                                            {"finish_reason", "length"},
                                            {"stop_reason", nullptr},
                                            {"token_ids", nullptr}}})},
                  {"usage", kUsage},
                  {"prompt_logprobs", nullptr},
                  {"prompt_token_ids", nullptr}}));
}

TEST(OpenAiReply, CompletionLogprobs) {
  v1::GenerateResponse one = Delta(0, "éa");
  AddLogprob(one, "é", -0.5f, {{"é", -0.5f}, {"x", -1.0f}});
  AddLogprob(one, "a", -std::numeric_limits<float>::infinity(), {{"b", -0.25f}});
  v1::GenerateResponse two = Delta(0, "c");
  AddLogprob(two, "c", -2.0f);
  const json body = Collect({.logprobs = true}, {Prompt(3), Delta(0, "echo"), one, two,
                                                 Finish(0, v1::FINISH_REASON_STOP), Usage()});
  EXPECT_EQ(body["choices"][0]["text"], "echoéac");
  EXPECT_EQ(body["choices"][0]["logprobs"],
            json({{"tokens", {"é", "a", "c"}},
                  {"token_logprobs", {-0.5, -9999.0, -2.0}},
                  {"top_logprobs",
                   {{{"é", -0.5}, {"x", -1.0}}, {{"b", -0.25}, {"a", -9999.0}}, {{"c", -2.0}}}},
                  {"text_offset", {4, 5, 6}}}));
}

TEST(OpenAiReply, ChatLogprobs) {
  v1::GenerateResponse delta = Delta(0, "é");
  AddLogprob(delta, "é", -0.5f, {{"é", -0.5f}, {"x", -1.0f}});
  const json expected = {
      {"content",
       json::array({{{"token", "é"},
                     {"logprob", -0.5},
                     {"bytes", {0xC3, 0xA9}},
                     {"top_logprobs",
                      json::array({{{"token", "é"}, {"logprob", -0.5}, {"bytes", {0xC3, 0xA9}}},
                                   {{"token", "x"}, {"logprob", -1.0}, {"bytes", {0x78}}}})}}})},
      {"refusal", nullptr}};
  const ReplyOptions options = {.api = OpenAiApi::kChat, .logprobs = true};
  const std::vector<v1::GenerateResponse> events = {Prompt(3), delta,
                                                    Finish(0, v1::FINISH_REASON_STOP), Usage()};
  EXPECT_EQ(Collect(options, events)["choices"][0]["logprobs"], expected);
  EXPECT_EQ(Stream(options, events)[1]["choices"][0]["logprobs"], expected);
}

TEST(OpenAiReply, ChatLogprobsOfAskedTokensHaveTheOneThatCame) {
  v1::GenerateResponse delta = Delta(0, "ab");
  AddLogprob(delta, "a", -0.5f, {{"x", -1.0f}});
  delta.mutable_delta()->mutable_logprobs(0)->mutable_token()->set_token_id(7);
  const auto tops = [&](bool top_has_sampled) {
    const json reply =
        Collect({.api = OpenAiApi::kChat, .logprobs = true, .top_has_sampled = top_has_sampled},
                {Prompt(3), delta, Finish(0, v1::FINISH_REASON_STOP), Usage()});
    std::string names;
    for (const json& top : reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) {
      names += top["token"].get<std::string>();
    }
    return names;
  };
  EXPECT_EQ("x", tops(false));
  EXPECT_EQ("ax", tops(true));
}

TEST(OpenAiReply, StreamedChat) {
  const auto events =
      Stream({.api = OpenAiApi::kChat, .include_usage = true, .n = 2},
             {Prompt(3), Delta(1, "Hi"), Delta(0, ""), Finish(1, v1::FINISH_REASON_STOP),
              Finish(0, v1::FINISH_REASON_LENGTH), Usage()});
  ASSERT_EQ(events.size(), 7u);  // two roles, one delta, two finishes, usage, [DONE]
  const auto chunk = [](const json& choice) {
    return json({{"id", "chatcmpl-x"},
                 {"object", "chat.completion.chunk"},
                 {"created", kCreated},
                 {"model", "m"},
                 {"choices", json::array({choice})},
                 {"usage", nullptr}});
  };
  EXPECT_EQ(events[0], chunk({{"index", 0},
                              {"delta", {{"role", "assistant"}, {"content", ""}}},
                              {"logprobs", nullptr},
                              {"finish_reason", nullptr}}));
  EXPECT_EQ(events[1]["choices"][0]["index"], 1);
  EXPECT_EQ(events[2], chunk({{"index", 1},
                              {"delta", {{"content", "Hi"}}},
                              {"logprobs", nullptr},
                              {"finish_reason", nullptr}}));
  EXPECT_EQ(events[4], chunk({{"index", 0},
                              {"delta", json::object()},
                              {"logprobs", nullptr},
                              {"finish_reason", "length"},
                              {"stop_reason", nullptr}}));
  EXPECT_EQ(events[5]["choices"], json::array());
  EXPECT_EQ(events[5]["usage"], kUsage);
  EXPECT_EQ(events[6], "[DONE]");
}

TEST(OpenAiReply, StreamedCompletionWithTokenIds) {
  const auto events =
      Stream({.include_usage = true, .continuous_usage_stats = true, .return_token_ids = true},
             {Prompt(3, {7, 8, 9}), Delta(0, "", {1}), Delta(0, "Hi", {2}),
              Finish(0, v1::FINISH_REASON_STOP), Usage()});
  ASSERT_EQ(events.size(), 5u);
  EXPECT_EQ(events[0]["object"], "text_completion");
  EXPECT_EQ(events[0]["choices"][0], json({{"index", 0},
                                           {"text", ""},
                                           {"logprobs", nullptr},
                                           {"finish_reason", nullptr},
                                           {"token_ids", {1}},
                                           {"prompt_token_ids", {7, 8, 9}}}));
  EXPECT_FALSE(events[1]["choices"][0].contains("prompt_token_ids"));
  EXPECT_EQ(events[1]["usage"]["completion_tokens"], 2);
  EXPECT_EQ(events[2]["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(events[3]["usage"], kUsage);
  EXPECT_EQ(events[4], "[DONE]");
}

v1::GenerateResponse Last(v1::GenerateResponse event) {
  event.mutable_delta()->set_last(true);
  return event;
}

TEST(OpenAiReply, TheLastTokensChunkHasTheFinishReason) {
  v1::GenerateResponse stop = Finish(0, v1::FINISH_REASON_STOP);
  stop.mutable_finish()->set_stop_token_id(6);
  const auto completion =
      Stream({.include_usage = true, .continuous_usage_stats = true, .return_token_ids = true},
             {Prompt(3, {7}), Delta(0, "Hi", {1}), Last(Delta(0, "", {6})), stop, Usage()});
  ASSERT_EQ(completion.size(), 4u);  // two tokens, usage, [DONE]
  EXPECT_EQ(completion[0]["choices"][0]["finish_reason"], nullptr);
  EXPECT_EQ(completion[1]["choices"][0], json({{"index", 0},
                                               {"text", ""},
                                               {"logprobs", nullptr},
                                               {"finish_reason", "stop"},
                                               {"stop_reason", 6},
                                               {"token_ids", {6}}}));
  EXPECT_EQ(completion[1]["usage"]["completion_tokens"], 2);

  v1::GenerateResponse last = Last(Delta(0, " you"));
  AddLogprob(last, " you", -0.5f);
  const auto chat = Stream({.api = OpenAiApi::kChat, .logprobs = true, .n = 2},
                           {Prompt(3), Delta(0, "Hi"), last, Finish(0, v1::FINISH_REASON_LENGTH),
                            Last(Delta(1, "Ho")), Finish(1, v1::FINISH_REASON_STOP), Usage()});
  ASSERT_EQ(chat.size(), 6u);  // two roles, three tokens, [DONE]
  EXPECT_EQ(chat[3]["choices"][0]["delta"], json({{"content", " you"}}));
  EXPECT_EQ(chat[3]["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(chat[3]["choices"][0]["logprobs"]["content"].size(), 1u);
  EXPECT_EQ(chat[4]["choices"][0]["index"], 1);
  EXPECT_EQ(chat[4]["choices"][0]["delta"], json({{"content", "Ho"}}));
  EXPECT_EQ(chat[4]["choices"][0]["finish_reason"], "stop");
}

v1::GenerateResponse UsageWithReasoning() {
  v1::GenerateResponse usage = Usage();
  usage.mutable_usage()->set_reasoning_tokens(1);
  return usage;
}

std::vector<v1::GenerateResponse> ThoughtAndTwoCalls() {
  return {Prompt(3),
          Reasoning(0, "Hm"),
          Reasoning(0, "m."),
          Call(0, 0, "", "call_a", "sum"),
          Call(0, 0, R"({"a": )"),
          Call(0, 0, "1}"),
          Call(0, 1, "{}", "call_b", "now"),
          Finish(0, v1::FINISH_REASON_TOOL_CALLS),
          UsageWithReasoning()};
}

TEST(OpenAiReply, ReasoningAndToolCalls) {
  const json reply = Collect({.api = OpenAiApi::kChat}, ThoughtAndTwoCalls());
  EXPECT_EQ(reply["choices"][0]["message"],
            json({{"role", "assistant"},
                  {"content", nullptr},
                  {"refusal", nullptr},
                  {"reasoning", "Hmm."},
                  {"reasoning_content", "Hmm."},
                  {"tool_calls",
                   {{{"id", "call_a"},
                     {"type", "function"},
                     {"function", {{"name", "sum"}, {"arguments", R"({"a": 1})"}}}},
                    {{"id", "call_b"},
                     {"type", "function"},
                     {"function", {{"name", "now"}, {"arguments", "{}"}}}}}}}));
  EXPECT_EQ(reply["choices"][0]["finish_reason"], "tool_calls");
  EXPECT_EQ(reply["usage"]["completion_tokens_details"], json({{"reasoning_tokens", 1}}));

  ReplyOptions without = {.api = OpenAiApi::kChat};
  without.include_reasoning = false;
  const json quiet = Collect(without, ThoughtAndTwoCalls());
  EXPECT_TRUE(quiet["choices"][0]["message"]["reasoning"].is_null());
  EXPECT_FALSE(quiet["choices"][0]["message"].contains("reasoning_content"));
}

// As the official client adds them up: id, type and name come once, with the first piece.
TEST(OpenAiReply, StreamedReasoningAndToolCalls) {
  const auto events = Stream({.api = OpenAiApi::kChat}, ThoughtAndTwoCalls());
  ASSERT_EQ(events.size(), 9u);  // a role, six deltas, a finish, [DONE]
  const auto delta = [&](size_t i) { return events[i]["choices"][0]["delta"]; };
  EXPECT_EQ(delta(1), json({{"reasoning", "Hm"}, {"reasoning_content", "Hm"}}));
  EXPECT_EQ(delta(3), json({{"tool_calls",
                             {{{"index", 0},
                               {"id", "call_a"},
                               {"type", "function"},
                               {"function", {{"name", "sum"}, {"arguments", ""}}}}}}}));
  EXPECT_EQ(delta(4),
            json({{"tool_calls", {{{"index", 0}, {"function", {{"arguments", R"({"a": )"}}}}}}}));
  EXPECT_EQ(delta(6)["tool_calls"][0]["index"], 1);
  EXPECT_EQ(delta(6)["tool_calls"][0]["function"]["arguments"], "{}");
  EXPECT_EQ(events[7]["choices"][0]["finish_reason"], "tool_calls");
  EXPECT_EQ(events[7]["choices"][0]["delta"], json::object());
}

// Prompts are answered side by side: another's token may come between.
TEST(OpenAiReply, TheLastTokensOfSeveralCallsAreKeptApart) {
  StreamedReply reply({.stream = true, .num_calls = 2}, "x", kCreated);
  std::string out;
  EXPECT_TRUE(reply.OnEvent(0, Last(Delta(0, "a")), &out).ok());
  EXPECT_TRUE(reply.OnEvent(1, Last(Delta(0, "b")), &out).ok());
  EXPECT_EQ(out, "") << "the finish is the next event of the call";
  EXPECT_TRUE(reply.OnEvent(1, Finish(0, v1::FINISH_REASON_STOP), &out).ok());
  EXPECT_THAT(out, HasSubstr(R"("index":1,"text":"b")"));
  out.clear();
  EXPECT_TRUE(reply.OnEvent(0, Finish(0, v1::FINISH_REASON_STOP), &out).ok());
  EXPECT_THAT(out, HasSubstr(R"("index":0,"text":"a")"));
}

TEST(OpenAiReply, TokenIdsOfACollectedReply) {
  const std::vector<v1::GenerateResponse> events = {Prompt(3, {7}), Delta(0, "Hi", {1, 2}),
                                                    Finish(0, v1::FINISH_REASON_STOP), Usage()};
  const json completion = Collect({.return_token_ids = true}, events);
  EXPECT_EQ(completion["choices"][0]["token_ids"], json({1, 2}));
  EXPECT_EQ(completion["choices"][0]["prompt_token_ids"], json::array({7}));
  const json chat = Collect({.api = OpenAiApi::kChat, .return_token_ids = true}, events);
  EXPECT_EQ(chat["choices"][0]["token_ids"], json({1, 2}));
  EXPECT_EQ(chat["prompt_token_ids"], json::array({7}));
}

TEST(OpenAiReply, AServiceThatBreaksTheContract) {
  CollectedReply reply({}, "x", kCreated);
  std::string out;
  EXPECT_EQ(reply.OnEvent(0, Delta(1, "Hi"), &out).code(), absl::StatusCode::kInternal);
  EXPECT_EQ(reply.OnEvent(0, Finish(9, v1::FINISH_REASON_STOP), &out).code(),
            absl::StatusCode::kInternal);
  EXPECT_TRUE(reply.OnEvent(0, v1::GenerateResponse(), &out).ok()) << "events of newer services";
  EXPECT_EQ(reply.Finish(&out).code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(reply.OnEvent(0, Finish(0, v1::FINISH_REASON_STOP), &out).ok());
  EXPECT_FALSE(reply.Finish(&out).ok()) << "usage is still missing";
  EXPECT_TRUE(reply.OnEvent(0, Usage(), &out).ok());
  EXPECT_TRUE(reply.Finish(&out).ok());
}

TEST(OpenAiReply, BytesThatAreNoUtf8DoNotBreakTheJson) {
  const json body = Collect({}, {Prompt(1),
                                 Delta(0,
                                       "a\xFF"
                                       "b\n\"\x01"),
                                 Finish(0, v1::FINISH_REASON_STOP), Usage()});
  EXPECT_EQ(body["choices"][0]["text"],
            "a\xEF\xBF\xBD"
            "b\n\"\x01");
}

}  // namespace
}  // namespace tidal
