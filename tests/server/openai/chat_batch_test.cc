// Several conversations in one request: vLLM's /v1/chat/completions/batch.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/openai/openai_codec.h"
#include "server/openai/openai_reply.h"
#include "tests/server/openai/reply_events.h"

namespace tidal {
namespace {

using ::testing::HasSubstr;

std::string Fault(const std::string& body) {
  return std::string(ParseChatBatchRequest(body).status().message());
}

TEST(ChatBatch, EachConversationIsACall) {
  const auto request = ParseChatBatchRequest(
      R"({"messages": [[{"role": "user", "content": "One"}],
                       [{"role": "system", "content": "Be"}, {"role": "user", "content": "Two"}]],
          "max_tokens": 5, "chat_template_kwargs": {"b": 1, "a": 2}})");
  ASSERT_TRUE(request.ok()) << request.status();
  ASSERT_EQ(request->calls.size(), 2u);
  EXPECT_EQ(request->reply.num_calls, 2u);
  EXPECT_EQ(request->calls[0].chat().messages_size(), 1);
  EXPECT_EQ(request->calls[1].chat().messages(1).content(), "Two");
  for (const v1::GenerateRequest& call : request->calls) {
    EXPECT_EQ(call.stopping().max_tokens(), 5u);
    EXPECT_EQ(call.chat().chat_template_kwargs(), R"({"b": 1, "a": 2})");
  }
}

TEST(ChatBatch, BadOnes) {
  const std::string message = R"({"role": "user", "content": "Hi"})";
  EXPECT_THAT(Fault("{}"), HasSubstr("messages: must be an array of 1 to 128 conversations"));
  EXPECT_THAT(Fault(R"({"messages": []})"), HasSubstr("1 to 128"));
  EXPECT_THAT(Fault(absl::StrCat(R"({"messages": [)", message, "]}")),
              HasSubstr("messages[0]: must be an array of at least one message"));
  EXPECT_THAT(Fault(R"({"messages": [[]]})"), HasSubstr("messages[0]: must be an array"));
  EXPECT_THAT(Fault(absl::StrCat(R"({"messages": [[)", message, "], [1]]}")),
              HasSubstr("messages[1][0]: must be an object"));
  for (const std::string field : {"stream", "echo"}) {
    EXPECT_THAT(
        Fault(absl::StrCat(R"({"messages": [[)", message, R"(]], ")", field, R"(": true})")),
        HasSubstr(field + ": not supported by this server"));
  }
  std::string many = absl::StrCat(R"({"messages": [[)", message, "]");
  for (int i = 0; i < 128; ++i) absl::StrAppend(&many, ",[", message, "]");
  EXPECT_THAT(Fault(many + "]}"), HasSubstr("1 to 128"));
}

TEST(ChatBatch, EachChoiceTellsOfItsPrompt) {
  CollectedReply reply(
      {.api = OpenAiApi::kChat, .return_token_ids = true, .several_chats = true, .num_calls = 2},
      "x", kCreated);
  std::string body;
  for (size_t call : {1, 0}) {
    const uint32_t token = 70 + static_cast<uint32_t>(call);
    for (const auto& event : {Prompt(1, {token}), Delta(0, absl::StrCat("answer ", call)),
                              Finish(0, v1::FINISH_REASON_STOP), Usage()}) {
      ASSERT_TRUE(reply.OnEvent(call, event, &body).ok());
    }
  }
  ASSERT_EQ(reply.Finish(&body), absl::OkStatus());
  const nlohmann::json json = nlohmann::json::parse(body);
  EXPECT_EQ(json["object"], "chat.completion");
  EXPECT_FALSE(json.contains("prompt_token_ids"));
  for (size_t call : {0, 1}) {
    const nlohmann::json& choice = json["choices"][call];
    EXPECT_EQ(choice["index"], call);
    EXPECT_EQ(choice["message"]["content"], absl::StrCat("answer ", call));
    EXPECT_EQ(choice["prompt_token_ids"], std::vector<size_t>{70 + call});
    EXPECT_TRUE(choice["prompt_logprobs"].is_null());
  }
}

}  // namespace
}  // namespace tidal
