#include "server/openai/openai_error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace tidal {
namespace {

TEST(OpenAiError, FieldsLoseTheirPath) {
  const ReplyOptions completion;
  const ReplyOptions chat = {.api = OpenAiApi::kChat, .max_tokens_field = "max_completion_tokens"};
  const auto param = [](const std::string& message, const ReplyOptions& reply) {
    return ToApiError(absl::InvalidArgumentError(message), reply).param;
  };
  EXPECT_EQ(param("sampling.top_p: must be in (0, 1], got 2", completion), "top_p");
  EXPECT_EQ(param("stopping.max_tokens: must be at least 1, got 0", completion), "max_tokens");
  EXPECT_EQ(param("stopping.max_tokens: must be at least 1, got 0", chat), "max_completion_tokens");
  EXPECT_EQ(param("stopping.stop[1]: must have 1 to 9 bytes", completion), "stop[1]");
  EXPECT_EQ(param("output.logprobs: must be in [0, 20], got 21", completion), "logprobs");
  EXPECT_EQ(param("output.logprobs: must be in [0, 20], got 21", chat), "top_logprobs");
  EXPECT_EQ(param("token_ids.ids[3]: must be below 10", completion), "prompt[3]");
  EXPECT_EQ(param("prompt: must have at most 5 tokens, got 6", completion), "prompt");
  EXPECT_EQ(param("prompt: must have at most 5 tokens, got 6", chat), "messages");
  EXPECT_EQ(param("chat.messages[0].role: must be known", chat), "messages[0].role");
  EXPECT_EQ(param("chat: Roles must alternate", chat), "messages");
  EXPECT_EQ(param("chat.chat_template_kwargs.tools: must be absent", chat),
            "chat_template_kwargs.tools");
  EXPECT_EQ(param("chat.tools[0].type: must be \"function\"", chat), "tools[0].type");
  EXPECT_EQ(param("attention.budget: must be at least 16", completion), "attention.budget");
  EXPECT_EQ(param("something went wrong: badly", completion), "");
  EXPECT_EQ(param("no field at all", completion), "");
}

TEST(OpenAiError, CodesThatClientsActOn) {
  const auto code = [](const absl::Status& status) { return ToApiError(status).code; };
  EXPECT_EQ(code(absl::InvalidArgumentError("prompt: must have at most 5 tokens, got 6")),
            "context_length_exceeded");
  EXPECT_EQ(code(absl::InvalidArgumentError("stopping.max_tokens: must be at most 2 beside a "
                                            "prompt of 3 tokens, as this model's maximum context "
                                            "length is 5 tokens, got 6")),
            "context_length_exceeded");
  EXPECT_EQ(code(absl::InvalidArgumentError("prompt: must have at least 1 token, got 0")), "");
  EXPECT_EQ(code(absl::ResourceExhaustedError("the queue is full")), "rate_limit_exceeded");
}

TEST(OpenAiError, Objects) {
  const ApiError missing = ToApiError(absl::NotFoundError("model: must be m, got x"));
  EXPECT_EQ(missing.http_status, 404);
  EXPECT_EQ(RenderError(missing),
            R"({"error":{"message":"model: must be m, got x","type":"not_found_error",)"
            R"("param":"model","code":"model_not_found"}})");
  EXPECT_EQ(RenderError(HttpError(405, "no \"such\"\n")),
            R"({"error":{"message":"no \"such\"\n","type":"invalid_request_error",)"
            R"("param":null,"code":null}})");
  EXPECT_THAT(RenderError(HttpError(400, "bad \xFF byte")), HasSubstr("\xEF\xBF\xBD"));
  EXPECT_EQ(ToApiError(absl::InternalError("disk: full")).param, "");
  EXPECT_EQ(ToApiError(absl::UnavailableError("")).message, "UNAVAILABLE");
}

}  // namespace
}  // namespace tidal
