// Conversations of the Messages API as chats.
#include "server/anthropic/conversation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/anthropic/messages_request.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// `more`: further members of the request, with a comma before each.
absl::StatusOr<MessagesRequest> ParseWith(const std::string& messages,
                                          const std::string& more = "") {
  return ParseMessagesRequest(
      absl::StrCat(R"({"max_tokens": 10, "messages": )", messages, more, "}"));
}

v1::Chat ChatOf(const std::string& messages, const std::string& more = "") {
  const auto request = ParseWith(messages, more);
  EXPECT_TRUE(request.ok()) << request.status();
  return request.ok() ? request->call.chat() : v1::Chat();
}

std::string ChatRefusal(const std::string& messages, const std::string& more = "") {
  const auto request = ParseWith(messages, more);
  EXPECT_EQ(request.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(request.status().message());
}

constexpr char kHi[] = R"([{"role": "user", "content": "Hi"}])";

TEST(Conversation, TextInItsForms) {
  const v1::Chat chat = ChatOf(R"([
      {"role": "user", "content": "One"},
      {"role": "assistant", "content": [{"type": "text", "text": "Two"}]},
      {"role": "user", "content": [{"type": "text", "text": "Three"},
                                   {"type": "text", "text": "Four", "cache_control": {}}]}])");
  ASSERT_EQ(chat.messages_size(), 3);
  EXPECT_EQ(chat.messages(0).role(), "user");
  EXPECT_THAT(chat.messages(0).content_parts(), ElementsAre("One"));
  EXPECT_EQ(chat.messages(1).role(), "assistant");
  EXPECT_THAT(chat.messages(1).content_parts(), ElementsAre("Two"));
  EXPECT_THAT(chat.messages(2).content_parts(), ElementsAre("Three", "Four"));
  EXPECT_FALSE(chat.continue_final_message());
  EXPECT_FALSE(chat.has_add_generation_prompt());
}

TEST(Conversation, TurnsOfOneRoleAreOneTurn) {
  const v1::Chat chat = ChatOf(R"([{"role": "user", "content": "A"},
      {"role": "user", "content": [{"type": "text", "text": "B"}]},
      {"role": "assistant", "content": "C"},
      {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f"}]},
      {"role": "user", "content": []}])");
  ASSERT_EQ(chat.messages_size(), 3);
  EXPECT_THAT(chat.messages(0).content_parts(), ElementsAre("A", "B"));
  EXPECT_THAT(chat.messages(1).content_parts(), ElementsAre("C"));
  EXPECT_EQ(chat.messages(1).tool_calls_size(), 1);
  EXPECT_THAT(chat.messages(2).content_parts(), ElementsAre(""));
}

TEST(Conversation, SystemIsOneMessageAndTheFirst) {
  const v1::Chat text = ChatOf(kHi, R"(, "system": "Be brief.")");
  ASSERT_EQ(text.messages_size(), 2);
  EXPECT_EQ(text.messages(0).role(), "system");
  EXPECT_THAT(text.messages(0).content_parts(), ElementsAre("Be brief."));
  const v1::Chat blocks =
      ChatOf(kHi, R"(, "system": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}])");
  EXPECT_THAT(blocks.messages(0).content_parts(), ElementsAre("A", "B"));
  for (const char* none : {R"("")", "[]", "null", R"([{"type": "text", "text": ""}])"}) {
    EXPECT_EQ(ChatOf(kHi, absl::StrCat(R"(, "system": )", none)).messages_size(), 1) << none;
  }
}

TEST(Conversation, SystemMessagesFurtherDownAreTheUsers) {
  const v1::Chat chat = ChatOf(R"([{"role": "system", "content": "B"},
      {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"},
      {"role": "system", "content": [{"type": "text", "text": "Remember."}]},
      {"role": "user", "content": "Well?"}])",
                               R"(, "system": "A")");
  ASSERT_EQ(chat.messages_size(), 4);
  EXPECT_THAT(chat.messages(0).content_parts(), ElementsAre("A", "B"));
  EXPECT_EQ(chat.messages(3).role(), "user");
  EXPECT_THAT(chat.messages(3).content_parts(), ElementsAre("Remember.", "Well?"));
}

// Claude Code's first block is another one in each request: with it no two prompts would begin
// alike, and no prefix would be found in the cache.
TEST(Conversation, TheLineThatChangesInEachRequestIsLeftOut) {
  const auto prompt = [](const std::string& system) {
    return ChatOf(kHi, absl::StrCat(R"(, "system": )", system)).SerializeAsString();
  };
  const auto blocks = [&](const std::string& first) {
    return prompt(absl::StrCat(R"([{"type": "text", "text": ")", first,
                               R"("}, {"type": "text", "text": "You are Claude Code."}])"));
  };
  const std::string one = blocks("x-anthropic-billing-header: cc_version=2.1; cch=00a1b;");
  const std::string other = blocks("x-anthropic-billing-header: cc_version=2.1; cch=ff3c2;");
  EXPECT_EQ(one, other);
  EXPECT_EQ(one, prompt(R"("You are Claude Code.")"));
  EXPECT_EQ(prompt(R"("x-anthropic-billing-header: cch=1;\nBe brief.")"), prompt(R"("Be brief.")"));
  EXPECT_NE(prompt(R"("Say x-anthropic-billing-header: cch=1;\nBe brief.")"),
            prompt(R"("Be brief.")"))
      << "only where a text begins with it";
}

TEST(Conversation, ThoughtsAndCallsOfTheAssistant) {
  const v1::Chat chat = ChatOf(R"([{"role": "user", "content": "Weather?"},
      {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "Ask.", "signature": "x"},
        {"type": "redacted_thinking", "data": "abc"},
        {"type": "thinking", "thinking": "Now.", "signature": ""},
        {"type": "text", "text": "One moment."},
        {"type": "tool_use", "id": "toolu_1", "name": "weather",
         "input": {"z": "Z\u00fcrich", "a": 1.50}, "caller": {"type": "direct"}},
        {"type": "tool_use", "id": "toolu_2", "name": "now"}]},
      {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1"}]}])");
  ASSERT_EQ(chat.messages_size(), 3);
  const v1::ChatMessage& turn = chat.messages(1);
  EXPECT_EQ(turn.reasoning(), "Ask.\nNow.");
  EXPECT_THAT(turn.content_parts(), ElementsAre("One moment."));
  ASSERT_EQ(turn.tool_calls_size(), 2);
  const auto call = nlohmann::json::parse(turn.tool_calls(0));
  EXPECT_EQ(call["id"], "toolu_1");
  EXPECT_EQ(call["type"], "function");
  EXPECT_EQ(call["function"]["name"], "weather");
  EXPECT_EQ(call["function"]["arguments"], R"({"z": "Z\u00fcrich", "a": 1.50})") << "as written";
  EXPECT_EQ(nlohmann::json::parse(turn.tool_calls(1))["function"]["arguments"], "{}");
  EXPECT_FALSE(chat.continue_final_message());
}

TEST(Conversation, ResultsOfToolsComeBeforeWhatTheUserSays) {
  const v1::Chat chat = ChatOf(R"([{"role": "user", "content": [
      {"type": "text", "text": "And then?"},
      {"type": "tool_result", "tool_use_id": "a", "content": "sunny"},
      {"type": "tool_result", "tool_use_id": "b", "is_error": true, "content": [
        {"type": "text", "text": "no such city"}, {"type": "text", "text": "try Bern"}]},
      {"type": "tool_result", "tool_use_id": "c", "is_error": true, "content": "Error: gone"},
      {"type": "tool_result", "tool_use_id": "d", "is_error": false, "content": [
        {"type": "tool_reference", "tool_name": "weather"}]},
      {"type": "tool_result", "tool_use_id": "e", "content": []}]}])");
  ASSERT_EQ(chat.messages_size(), 6);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(chat.messages(i).role(), "tool");
    EXPECT_EQ(chat.messages(i).tool_call_id(), std::string(1, static_cast<char>('a' + i)));
  }
  EXPECT_THAT(chat.messages(0).content_parts(), ElementsAre("sunny"));
  EXPECT_THAT(chat.messages(1).content_parts(), ElementsAre("Error: no such city", "try Bern"));
  EXPECT_THAT(chat.messages(2).content_parts(), ElementsAre("Error: gone"));
  EXPECT_THAT(chat.messages(3).content_parts(), ElementsAre("weather"));
  EXPECT_THAT(chat.messages(4).content_parts(), ElementsAre(""));
  EXPECT_EQ(chat.messages(5).role(), "user");
  EXPECT_THAT(chat.messages(5).content_parts(), ElementsAre("And then?"));
}

TEST(Conversation, TheLastTurnOfTheAssistantGoesOn) {
  const auto last = [](const std::string& content) {
    return ChatOf(absl::StrCat(R"([{"role": "user", "content": "Hi"},
                                   {"role": "assistant", "content": )",
                               content, "}]"));
  };
  EXPECT_TRUE(last(R"("The answer is (")").continue_final_message());
  EXPECT_FALSE(last(R"("The answer is (")").add_generation_prompt());
  EXPECT_FALSE(last(R"("")").continue_final_message()) << "nothing to go on with";
  EXPECT_FALSE(last(R"([{"type": "text", "text": "Well"},
                        {"type": "tool_use", "id": "t", "name": "f", "input": {}}])")
                   .continue_final_message());
}

TEST(Conversation, BlocksThatCannotBeReadAreNamed) {
  const auto user = [](const std::string& block) {
    return ChatRefusal(absl::StrCat(R"([{"role": "user", "content": "A"},
        {"role": "user", "content": [{"type": "text", "text": "B"}, )",
                                    block, "]}]"));
  };
  EXPECT_EQ(user(R"({"type": "image", "source": {"type": "base64", "data": "AA=="}})"),
            "messages[1].content[1]: must be a block of type text, tool_result, got one of type "
            "\"image\", which this server does not support here");
  for (const char* type :
       {"document", "search_result", "container_upload", "tool_use", "thinking"}) {
    EXPECT_THAT(user(absl::StrCat(R"({"type": ")", type, R"("})")),
                HasSubstr(absl::StrCat("got one of type \"", type, "\"")));
  }
  EXPECT_THAT(user(R"({"type": "tool_result", "tool_use_id": "t", "content": [
                      {"type": "image"}]})"),
              HasSubstr("messages[1].content[1].content[0]: must be a block of type text, "
                        "tool_reference, got one of type \"image\""));
  EXPECT_THAT(ChatRefusal(R"([{"role": "assistant", "content": [{"type": "server_tool_use"}]}])"),
              HasSubstr("messages[0].content[0]: must be a block of type text, thinking, "));
  EXPECT_THAT(ChatRefusal(kHi, R"(, "system": [{"type": "image"}])"),
              HasSubstr("system[0]: must be a block of type text, got"));
}

TEST(Conversation, MistakesAreNamed) {
  const std::pair<const char*, const char*> kMistakes[] = {
      {"null", "messages: must be an array of at least one message"},
      {"[]", "messages: must be an array of at least one message"},
      {R"("Hi")", "messages: must be an array, got \"Hi\""},
      {R"(["Hi"])", "messages[0]: must be an object, got \"Hi\""},
      {R"([{"content": "Hi"}])", "messages[0].role: must be given"},
      {R"([{"role": "user"}])", "messages[0].content: must be given"},
      {R"([{"role": "tool", "content": "Hi"}])",
       R"(messages[0].role: must be "user", "assistant" or "system", got "tool")"},
      {R"([{"role": "user", "content": 5}])",
       "messages[0].content: must be a string or an array of blocks, got 5"},
      {R"([{"role": "user", "content": ["Hi"]}])",
       "messages[0].content[0]: must be an object, got \"Hi\""},
      {R"([{"role": "user", "content": [{"text": "Hi"}]}])",
       "messages[0].content[0].type: must be a string, got null"},
      {R"([{"role": "user", "content": [{"type": "text", "text": 5}]}])",
       "messages[0].content[0].text: must be a string, got 5"},
      {R"([{"role": "user", "content": [{"type": "tool_result"}]}])",
       "messages[0].content[0].tool_use_id: must be a string, got null"},
      {R"([{"role": "user", "content": [
           {"type": "tool_result", "tool_use_id": "t", "content": 5}]}])",
       "messages[0].content[0].content: must be a string or an array of blocks, got 5"},
      {R"([{"role": "user", "content": [
           {"type": "tool_result", "tool_use_id": "t", "is_error": "yes"}]}])",
       "messages[0].content[0].is_error: must be true or false, got \"yes\""},
      {R"([{"role": "assistant", "content": [{"type": "thinking"}]}])",
       "messages[0].content[0].thinking: must be a string, got null"},
      {R"([{"role": "assistant", "content": [{"type": "tool_use", "name": "f"}]}])",
       "messages[0].content[0].id: must be a string, got null"},
      {R"([{"role": "assistant", "content": [{"type": "tool_use", "id": "t"}]}])",
       "messages[0].content[0].name: must be a string, got null"},
      {R"([{"role": "assistant", "content": [
           {"type": "tool_use", "id": "t", "name": "f", "input": []}]}])",
       "messages[0].content[0].input: must be an object, got an array of 0"},
  };
  for (const auto& [messages, message] : kMistakes) EXPECT_EQ(ChatRefusal(messages), message);
  EXPECT_EQ(ChatRefusal(kHi, R"(, "system": 5)"),
            "system: must be a string or an array of text blocks, got 5");
}

}  // namespace
}  // namespace tidal
