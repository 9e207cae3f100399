// Errors in Anthropic's form.
#include "server/anthropic/messages_error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "nlohmann/json.hpp"
#include "scheduler/retry_after.h"

namespace tidal {
namespace {

using nlohmann::json;

std::string TypeOf(int http_status) {
  return json::parse(RenderMessagesError(HttpError(http_status, "m"), "r"))["error"]["type"];
}

TEST(MessagesError, TheTypeIsTheStatuss) {
  EXPECT_EQ(RenderMessagesError(HttpError(404, "no such \"path\""), "req-1"),
            R"({"type":"error","error":{"type":"not_found_error",)"
            R"("message":"no such \"path\""},"request_id":"req-1"})");
  EXPECT_EQ(TypeOf(400), "invalid_request_error");
  EXPECT_EQ(TypeOf(401), "authentication_error");
  EXPECT_EQ(TypeOf(403), "permission_error");
  EXPECT_EQ(TypeOf(405), "invalid_request_error");
  EXPECT_EQ(TypeOf(413), "request_too_large");
  EXPECT_EQ(TypeOf(429), "rate_limit_error");
  EXPECT_EQ(TypeOf(500), "api_error");
  EXPECT_EQ(TypeOf(501), "api_error");
  EXPECT_EQ(TypeOf(503), "overloaded_error");
  EXPECT_EQ(TypeOf(504), "timeout_error");
}

TEST(MessagesError, FieldsHaveTheClientsNames) {
  const auto message = [](const char* text) {
    return ToMessagesError(absl::InvalidArgumentError(text)).message;
  };
  EXPECT_EQ(message("stopping.stop[3]: must not be empty"), "stop_sequences[3]: must not be empty");
  EXPECT_EQ(message("stopping.stop: must have at most 16 entries, got 20"),
            "stop_sequences: must have at most 16 entries, got 20");
  EXPECT_EQ(message("stopping.stop_token_ids: x"), "stop_token_ids: x");
  EXPECT_EQ(message("sampling.top_p: must be in (0, 1], got 2"), "top_p: must be in (0, 1], got 2");
  EXPECT_EQ(message("chat.messages[2].role: x"), "messages[2].role: x");
  EXPECT_EQ(message("chat: the template refuses"), "messages: the template refuses");
  EXPECT_EQ(message("chat.tools[3].function.parameters: x"), "tools[3].input_schema: x");
  EXPECT_EQ(message("chat.tools[3].function.name: x"), "tools[3].name: x");
  EXPECT_EQ(message("structured_output.json_schema: x"), "output_config.format.schema: x");
  EXPECT_EQ(message("structured_output: x"), "output_config.format or tools: x");
  EXPECT_EQ(message("output.parsing.thinking_token_budget: x"), "thinking.budget_tokens: x");
  EXPECT_EQ(message("output.parsing.tool_choice.names[0]: x"), "tool_choice.names[0]: x");
}

// By these words agents know that they have to make their conversation shorter.
TEST(MessagesError, APromptThatIsTooLong) {
  const ApiError error = ToMessagesError(
      absl::InvalidArgumentError("prompt: must have at most 4095 tokens, got at least 5000"));
  EXPECT_EQ(error.http_status, 400);
  EXPECT_EQ(error.message, "prompt is too long: at least 5000 tokens > 4095 maximum");
  EXPECT_EQ(ToMessagesError(absl::InvalidArgumentError("prompt: must have at least 1 token, got 0"))
                .message,
            "messages: must have at least 1 token, got 0");
}

TEST(MessagesError, WhenToComeAgain) {
  const ApiError error =
      ToMessagesError(WithRetryAfter(absl::ResourceExhaustedError("the queue is full"), 7));
  EXPECT_EQ(error.http_status, 429);
  EXPECT_EQ(error.retry_after, 7);
}

}  // namespace
}  // namespace tidal
