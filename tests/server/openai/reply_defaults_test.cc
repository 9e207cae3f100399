// What the operator wants of all replies, and the order of alternatives.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "nlohmann/json.hpp"
#include "server/openai/openai_api.h"
#include "tests/server/openai/reply_events.h"

namespace tidal {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// The whole reply to a body, of one token, "é", with alternatives.
std::string ReplyTo(const std::string& body, const ReplyDefaults& defaults) {
  absl::StatusOr<ApiRequest> request = ReadCompletions(body);
  EXPECT_TRUE(request.ok()) << request.status();
  const std::unique_ptr<ApiReply> reply = request->make_reply({"x", kCreated, defaults});
  v1::GenerateResponse delta = Delta(0, "é");
  AddLogprob(delta, "é", -2.0f, {{"b", -0.5f}, {"a", -1.0f}, {"é", -1.5f}});
  std::string out;
  for (const auto& event : {Prompt(3), delta, Finish(0, v1::FINISH_REASON_STOP), Usage()}) {
    EXPECT_TRUE(reply->OnEvent(0, event, &out).ok());
  }
  EXPECT_TRUE(reply->Finish(&out).ok());
  return out;
}

TEST(ReplyDefaults, UsageUnasked) {
  const std::string body = R"({"prompt": "Hi", "stream": true})";
  EXPECT_THAT(ReplyTo(body, {}), Not(HasSubstr("usage")));
  const std::string stream = ReplyTo(body, {.force_include_usage = true});
  EXPECT_THAT(stream, HasSubstr(R"("usage":{"prompt_tokens":3,"completion_tokens":1)"));
  EXPECT_THAT(stream, HasSubstr(R"("choices":[],"usage":{"prompt_tokens":3)"));
}

TEST(ReplyDefaults, TokensByTheirIdsUnlessTheRequestSaysIt) {
  const ReplyDefaults ids = {.return_tokens_as_token_ids = true};
  EXPECT_THAT(ReplyTo(R"({"prompt": "Hi", "logprobs": 1})", ids), HasSubstr("token_id:0"));
  EXPECT_THAT(
      ReplyTo(R"({"prompt": "Hi", "logprobs": 1, "return_tokens_as_token_ids": false})", ids),
      Not(HasSubstr("token_id:0")));
}

TEST(TopLogprobs, TheTokenComesFirstAndTheLikelierOfOneTextStands) {
  const std::string reply = ReplyTo(R"({"prompt": "Hi", "logprobs": 3})", {});
  EXPECT_THAT(reply, HasSubstr(R"("top_logprobs":[{"é":-1.5,"b":-0.5,"a":-1.0}])"));
  EXPECT_THAT(reply, HasSubstr(R"("token_logprobs":[-2.0])"));
}

}  // namespace
}  // namespace tidal
