// What a response says of errors, before and after it has begun.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "server/responses/responses_reply.h"
#include "tests/server/responses/service_events.h"

namespace tidal::responses_test {
namespace {

using ::testing::ElementsAre;

// What a stream that began tells of `error`, after `events`.
std::vector<json> FailAfter(const Events& events, const absl::Status& status) {
  auto options = Options();
  options->stream = true;
  ResponsesReply reply(options, {"x", 17});
  std::string out;
  for (const auto& event : events) EXPECT_TRUE(reply.OnEvent(0, event, &out).ok());
  reply.Fail(reply.ErrorOf(status), &out);
  return ParseEvents(out);
}

TEST(ResponsesErrors, AnErrorInTheMiddle) {
  const std::vector<json> events =
      FailAfter({Prompt(), Thought("Hm"), Text("Hi")}, absl::InternalError("no numbers"));
  EXPECT_THAT(Types(events),
              ElementsAre("created", "in_progress", "output_item.added", "content_part.added",
                          "reasoning_text.delta", "reasoning_text.done", "content_part.done",
                          "output_item.done", "output_item.added", "content_part.added",
                          "output_text.delta", "failed"));
  const json& response = events.back()["response"];
  EXPECT_EQ(response["status"], "failed");
  EXPECT_EQ(response["error"], json({{"code", "server_error"}, {"message", "no numbers"}}));
  EXPECT_EQ(response["usage"], nullptr);
  EXPECT_EQ(response["output"][0]["status"], "completed");
  EXPECT_EQ(response["output"][1]["status"], "incomplete");
  EXPECT_EQ(response["output"][1]["id"], "msg_x_1");
}

TEST(ResponsesErrors, AnErrorBeforeAnythingElse) {
  const std::vector<json> events = FailAfter({}, absl::UnavailableError("gone"));
  EXPECT_THAT(Types(events), ElementsAre("created", "in_progress", "failed"));
  EXPECT_EQ(events[0]["response"]["model"], "asked");
  EXPECT_EQ(events[2]["response"]["error"]["code"], "server_error");
}

TEST(ResponsesErrors, CodesOfErrors) {
  const auto code = [](const absl::Status& status) {
    return FailAfter({}, status).back()["response"]["error"]["code"];
  };
  EXPECT_EQ(code(absl::InvalidArgumentError("prompt: must have at most 9 tokens, got 10")),
            "context_length_exceeded");
  EXPECT_EQ(code(absl::InvalidArgumentError("chat: the template says no")), "invalid_prompt");
  const json limit =
      FailAfter({}, absl::ResourceExhaustedError("the queue is full")).back()["response"]["error"];
  EXPECT_EQ(limit["code"], "rate_limit_exceeded");
  EXPECT_EQ(limit["message"], "the queue is full; try again in 1s");
}

TEST(ResponsesErrors, ErrorsNameTheClientsFields) {
  const ResponsesReply reply(Options(), {"x", 17});
  struct Case {
    const char *message, *param, *text;
  };
  for (const Case& test : {
           Case{"sampling.temperature: must be less", "temperature", "temperature: must be less"},
           Case{"stopping.max_tokens: must be less", "max_output_tokens",
                "max_output_tokens: must be less"},
           Case{"prompt: must have at most 9 tokens, got 10", "input",
                "input: must have at most 9 tokens, got 10"},
           Case{"chat: the template says no", "input", "input: the template says no"},
           Case{"chat.messages[1].role: must be x", "input", "input: messages[1].role: must be x"},
           Case{"chat.tools[1].function.parameters.type: must be x",
                "tools[3].tools[1].parameters.type",
                "tools[3].tools[1].parameters.type: must be x"},
           Case{"structured_output.json_schema: must be x", "text.format.schema",
                "text.format.schema: must be x"},
       }) {
    const ApiError error = reply.ErrorOf(absl::InvalidArgumentError(test.message));
    EXPECT_EQ(error.param, test.param) << test.message;
    EXPECT_EQ(error.message, test.text) << test.message;
    EXPECT_EQ(error.http_status, 400);
  }
  EXPECT_EQ(reply.ErrorOf(absl::InvalidArgumentError("prompt: must have at most 9 tokens")).code,
            "context_length_exceeded");
  EXPECT_EQ(reply.ErrorOf(absl::ResourceExhaustedError("full")).code, "rate_limit_exceeded");
}

}  // namespace
}  // namespace tidal::responses_test
