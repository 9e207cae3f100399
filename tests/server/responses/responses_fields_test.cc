// Every field of a Responses request that clients send has an answer: it works, it has no effect on
// purpose, or it is refused by its name. A field that comes new belongs here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/responses/responses_request.h"

namespace tidal {
namespace {

using ::testing::StartsWith;

enum class Answer { kWorks, kNoEffect, kRefused };

struct Field {
  const char* name;
  const char* value;
  Answer answer;
};

void PrintTo(const Field& field, std::ostream* stream) { *stream << field.name; }

constexpr Answer kWorks = Answer::kWorks, kNoEffect = Answer::kNoEffect,
                 kRefused = Answer::kRefused;

// All 34 of openai's responses.create (3.57.0), then vLLM's and ours. What has no effect may stand
// in the reply, or be named in its header.
constexpr Field kFields[] = {
    {"access_programs", R"({"cyber": "standard"})", kNoEffect},
    {"background", "true", kRefused},
    {"background_options", R"({"completion_window": "2h"})", kNoEffect},
    {"context_management", R"([{"type": "compaction"}])", kNoEffect},
    {"conversation", R"("conv_1")", kRefused},
    {"image", R"({"context_compression": "auto"})", kNoEffect},
    {"include", R"(["message.output_text.logprobs"])", kWorks},
    {"input", R"("Hi")", kWorks},
    {"instructions", R"("Be kind.")", kWorks},
    {"max_output_tokens", "7", kWorks},
    {"max_tool_calls", "3", kNoEffect},
    {"metadata", R"({"a": "b"})", kNoEffect},
    {"model", R"("m")", kWorks},
    {"moderation", R"({"model": "x"})", kNoEffect},
    {"parallel_tool_calls", "false", kNoEffect},  // without tools
    {"previous_response_id", R"("resp_1")", kRefused},
    {"prompt", R"({"id": "pmpt_1"})", kRefused},
    {"prompt_cache_key", R"("k")", kNoEffect},
    {"prompt_cache_options", R"({"mode": "implicit"})", kNoEffect},
    {"prompt_cache_retention", R"("24h")", kNoEffect},
    {"reasoning", R"({"effort": "high", "summary": "auto"})", kWorks},
    {"safety_identifier", R"("s")", kNoEffect},
    {"service_tier", R"("auto")", kNoEffect},
    {"store", "true", kNoEffect},
    {"stream", "true", kWorks},
    {"stream_options", "null", kNoEffect},
    {"temperature", "0.5", kWorks},
    {"text", R"({"format": {"type": "json_object"}, "verbosity": "low"})", kWorks},
    {"tool_choice", R"("auto")", kNoEffect},  // without tools
    {"tools", R"([{"type": "function", "name": "f"}])", kWorks},
    {"top_logprobs", "5", kNoEffect},  // without include
    {"top_p", "0.5", kWorks},
    {"truncation", R"("auto")", kRefused},
    {"user", R"("u")", kNoEffect},

    {"attention", R"({"mode": "full"})", kWorks},
    {"cache_salt", R"("s")", kWorks},
    {"chat_template_kwargs", R"({"a": 1})", kWorks},
    {"documents", R"([{"text": "x"}])", kWorks},
    {"frequency_penalty", "0.5", kWorks},
    {"guided_regex", R"("a+")", kWorks},
    {"ignore_eos", "true", kWorks},
    {"include_reasoning", "false", kWorks},
    {"include_stop_str_in_output", "true", kWorks},
    {"logit_bias", R"({"5": 1})", kWorks},
    {"logprob_token_ids", "[1]", kRefused},  // without include
    {"min_p", "0.1", kWorks},
    {"min_tokens", "2", kWorks},
    {"n", "2", kRefused},
    {"presence_penalty", "0.5", kWorks},
    {"priority", "1", kWorks},
    {"prompt_embeds", R"("x")", kRefused},
    {"repetition_penalty", "1.1", kWorks},
    {"request_id", R"("r")", kWorks},
    {"return_token_ids", "true", kNoEffect},
    {"seed", "5", kWorks},
    {"skip_special_tokens", "false", kWorks},
    {"stop", R"(["x"])", kWorks},
    {"stop_token_ids", "[5]", kWorks},
    {"structured_outputs", R"({"choice": ["a", "b"]})", kWorks},
    {"thinking_token_budget", "5", kWorks},
    {"top_k", "5", kWorks},
    {"unheard_of", "5", kNoEffect},
    {"use_beam_search", "true", kRefused},
};

class ResponsesFieldsTest : public ::testing::TestWithParam<Field> {};

// All of it that changes what the service or the reply does.
std::string Effect(const ResponsesRequest& request) {
  return absl::StrCat(request.call.DebugString(), request.request_id, request.options.stream,
                      request.options.logprobs, request.options.include_reasoning,
                      request.options.tools.size());
}

TEST_P(ResponsesFieldsTest, HasItsAnswer) {
  const Field& field = GetParam();
  const auto plain = ParseResponsesRequest(R"({"input": "Hello"})");
  const auto with = ParseResponsesRequest(
      absl::StrCat(R"({"input": "Hello", ")", field.name, "\": ", field.value, "}"));
  ASSERT_TRUE(plain.ok());
  if (field.answer == kRefused) {
    EXPECT_EQ(with.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(with.status().message()), StartsWith(absl::StrCat(field.name, ": ")));
    return;
  }
  ASSERT_TRUE(with.ok()) << with.status();
  EXPECT_EQ(Effect(*with) != Effect(*plain), field.answer == kWorks);
}

TEST_P(ResponsesFieldsTest, NullIsAbsent) {
  const Field& field = GetParam();
  if (std::string(field.name) == "input") return;  // it must be given
  const auto plain = ParseResponsesRequest(R"({"input": "Hello"})");
  const auto with =
      ParseResponsesRequest(absl::StrCat(R"({"input": "Hello", ")", field.name, "\": null}"));
  ASSERT_TRUE(with.ok()) << with.status();
  EXPECT_EQ(Effect(*with), Effect(*plain));
  EXPECT_EQ(with->options.echo, plain->options.echo);
  EXPECT_TRUE(with->left_out.empty());
}

INSTANTIATE_TEST_SUITE_P(All, ResponsesFieldsTest, ::testing::ValuesIn(kFields),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace tidal
