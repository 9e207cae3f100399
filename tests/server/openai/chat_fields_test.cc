// Every field of a chat request that clients send has an answer: it works, it has no effect on
// purpose, or it is refused by its name. A field that comes new belongs here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/openai/openai_codec.h"

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

// All 37 of openai's chat.completions.create (3.57.0), then vLLM's.
constexpr Field kFields[] = {
    {"messages", R"([{"role": "user", "content": "Hi"}])", kWorks},
    {"model", R"("m")", kWorks},
    {"audio", R"({"voice": "x", "format": "wav"})", kRefused},
    {"frequency_penalty", "0.5", kWorks},
    {"function_call", R"("auto")", kRefused},
    {"functions", R"([{"name": "f"}])", kRefused},
    {"logit_bias", R"({"5": 1})", kWorks},
    {"logprobs", "true", kWorks},
    {"max_completion_tokens", "7", kWorks},
    {"max_tokens", "7", kWorks},
    {"metadata", R"({"a": "b"})", kNoEffect},
    {"modalities", R"(["text"])", kNoEffect},
    {"moderation", R"({"model": "x"})", kNoEffect},
    {"n", "2", kWorks},
    {"parallel_tool_calls", "true", kNoEffect},
    {"prediction", R"({"type": "content", "content": "x"})", kRefused},
    {"presence_penalty", "0.5", kWorks},
    {"prompt_cache_key", R"("k")", kNoEffect},
    {"prompt_cache_options", R"({"mode": "implicit"})", kNoEffect},
    {"prompt_cache_retention", R"("24h")", kNoEffect},
    {"reasoning_effort", R"("high")", kWorks},
    {"response_format", R"({"type": "json_object"})", kRefused},
    {"safety_identifier", R"("s")", kNoEffect},
    {"seed", "5", kWorks},
    {"service_tier", R"("auto")", kNoEffect},
    {"stop", R"(["x"])", kWorks},
    {"store", "false", kNoEffect},
    {"stream", "true", kWorks},
    {"stream_options", "null", kNoEffect},
    {"temperature", "0.5", kWorks},
    {"tool_choice", R"("required")", kRefused},
    {"tools", R"([{"type": "function", "function": {"name": "f"}}])", kWorks},
    {"top_logprobs", "0", kWorks},
    {"top_p", "0.5", kWorks},
    {"user", R"("u")", kNoEffect},
    {"verbosity", R"("low")", kWorks},
    {"web_search_options", R"({"search_context_size": "low"})", kRefused},

    {"add_generation_prompt", "false", kWorks},
    {"allowed_token_ids", "[1]", kRefused},
    {"bad_words", R"(["x"])", kRefused},
    {"cache_salt", R"("s")", kWorks},
    {"chat_template", R"("{{ x }}")", kRefused},
    {"chat_template_kwargs", R"({"a": 1})", kWorks},
    {"continue_final_message", "true", kWorks},
    {"documents", R"([{"text": "x"}])", kWorks},
    {"echo", "true", kWorks},
    {"guided_json", R"({"type": "object"})", kRefused},
    {"ignore_eos", "true", kWorks},
    {"include_reasoning", "false", kWorks},
    {"include_stop_str_in_output", "true", kWorks},
    {"kv_transfer_params", "null", kNoEffect},
    {"logits_processors", R"(["x"])", kRefused},
    {"logprob_token_ids", "[1]", kRefused},
    {"min_p", "0.1", kWorks},
    {"min_tokens", "2", kWorks},
    {"priority", "1", kWorks},
    {"prompt_logprobs", "1", kWorks},
    {"repetition_penalty", "1.1", kWorks},
    {"request_id", R"("r")", kWorks},
    {"return_token_ids", "true", kWorks},
    {"return_tokens_as_token_ids", "true", kWorks},
    {"skip_special_tokens", "false", kWorks},
    {"spaces_between_special_tokens", "true", kNoEffect},
    {"stop_token_ids", "[5]", kWorks},
    {"structured_outputs", R"({"json": {}})", kRefused},
    {"thinking_token_budget", "100", kRefused},
    {"top_k", "5", kWorks},
    {"truncate_prompt_tokens", "5", kWorks},
    {"truncation_side", R"("left")", kNoEffect},
    {"use_beam_search", "true", kRefused},
};

class ChatFieldsTest : public ::testing::TestWithParam<Field> {};

std::string Text(const OpenAiRequest& request) {
  return absl::StrCat(request.calls[0].DebugString(), request.request_id, request.reply.stream,
                      request.reply.include_reasoning, request.reply.logprobs,
                      request.reply.echo_text, request.reply.prompt_logprobs,
                      static_cast<int>(request.reply.token_names));
}

TEST_P(ChatFieldsTest, HasItsAnswer) {
  const Field& field = GetParam();
  const std::string messages =
      R"("messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}])";
  const auto plain = ParseChatRequest(absl::StrCat("{", messages, "}"));
  const auto with =
      ParseChatRequest(absl::StrCat("{", messages, ", \"", field.name, "\": ", field.value, "}"));
  ASSERT_TRUE(plain.ok());
  if (field.answer == kRefused) {
    EXPECT_EQ(with.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(with.status().message()), StartsWith(field.name));
    return;
  }
  ASSERT_TRUE(with.ok()) << with.status();
  const bool changes = Text(*with) != Text(*plain);
  // No alternatives are what there are anyway.
  EXPECT_EQ(changes, field.answer == kWorks && std::string(field.name) != "top_logprobs");
}

INSTANTIATE_TEST_SUITE_P(All, ChatFieldsTest, ::testing::ValuesIn(kFields),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace tidal
