#include <gtest/gtest.h>

#include <string>

#include "server/openai/openai_codec.h"
#include "tests/server/openai/field_answers.h"

namespace tidal {
namespace {

// All of openai's completions.create (3.57.0), then vLLM's.
constexpr Field kCompletionFields[] = {
    {"model", R"("m")", kWorks},
    {"prompt", R"("Bye")", kWorks},
    {"best_of", "2", kNoEffect, R"(, "n": 2)"},
    {"echo", "true", kWorks},
    {"frequency_penalty", "0.5", kWorks},
    {"logit_bias", R"({"5": 1})", kWorks},
    {"logprobs", "2", kWorks},
    {"max_tokens", "7", kWorks},
    {"n", "2", kWorks},
    {"presence_penalty", "0.5", kWorks},
    {"seed", "5", kWorks},
    {"stop", R"(["x"])", kWorks},
    {"stream", "true", kWorks},
    {"stream_options", R"({"include_usage": true, "include_obfuscation": true})", kWorks,
     R"(, "stream": true)"},
    {"suffix", R"("x")", kRefused},
    {"temperature", "0.5", kWorks},
    {"top_p", "0.5", kWorks},
    {"user", R"("u")", kNoEffect},

    {"add_special_tokens", "false", kWorks},
    {"allowed_token_ids", "[1]", kWorks},
    {"attention", R"({"mode": "full"})", kWorks},
    {"bad_words", R"(["x"])", kWorks},
    {"cache_salt", R"("s")", kWorks},
    {"guided_choice", R"(["a", "b"])", kWorks},
    {"guided_grammar", R"("root ::= \"a\"")", kWorks},
    {"guided_json", R"({"type": "object"})", kWorks},
    {"guided_regex", R"("a+")", kWorks},
    {"ignore_eos", "true", kWorks},
    {"include_stop_str_in_output", "true", kWorks},
    {"kv_transfer_params", R"({"do_remote_decode": true})", kRefused},
    {"logits_processors", R"(["x"])", kRefused},
    {"logprob_token_ids", "[1]", kWorks, R"(, "logprobs": 0)"},
    {"metadata", R"({"a": "b"})", kNoEffect},
    {"min_p", "0.1", kWorks},
    {"min_tokens", "2", kWorks},
    {"priority", "1", kWorks},
    {"prompt_embeds", R"("x")", kRefused},
    {"prompt_logprobs", "1", kWorks},
    {"repetition_penalty", "1.1", kWorks},
    {"request_id", R"("r")", kWorks},
    {"response_format", R"({"type": "json_object"})", kWorks},
    {"return_token_ids", "true", kWorks},
    {"return_tokens_as_token_ids", "true", kWorks},
    {"service_tier", R"("auto")", kWorks},  // the reply names one
    {"session_id", R"("s")", kNoEffect},
    {"skip_special_tokens", "false", kWorks},
    {"spaces_between_special_tokens", "true", kNoEffect},
    {"stop_token_ids", "[5]", kWorks},
    {"stream_interval", "2", kNoEffect},
    {"structured_outputs", R"({"regex": "a+"})", kWorks},
    {"top_k", "5", kWorks},
    {"truncate_prompt_tokens", "5", kWorks},
    {"truncation_side", R"("right")", kWorks},
    {"use_beam_search", "true", kRefused},
    {"vllm_xargs", R"({"a": 1})", kNoEffect},
};

class CompletionFieldsTest : public ::testing::TestWithParam<Field> {};

TEST_P(CompletionFieldsTest, HasItsAnswer) {
  CheckAnswer(GetParam(), R"("prompt": "Hello")", ParseCompletionRequest);
}

INSTANTIATE_TEST_SUITE_P(All, CompletionFieldsTest, ::testing::ValuesIn(kCompletionFields),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(NullFields, AreAbsent) {
  const auto plain = ParseCompletionRequest(R"({"prompt": "Hello"})");
  ASSERT_TRUE(plain.ok());
  for (const Field& field : kCompletionFields) {
    if (std::string(field.name) == "prompt") continue;
    const auto null =
        ParseCompletionRequest(absl::StrCat(R"({"prompt": "Hello", ")", field.name, "\": null}"));
    ASSERT_TRUE(null.ok()) << null.status();
    EXPECT_EQ(EffectOf(*null), EffectOf(*plain)) << field.name;
  }
}

}  // namespace
}  // namespace tidal
