#include <gtest/gtest.h>

#include <string>

#include "server/openai/openai_codec.h"
#include "tests/server/openai/field_answers.h"

namespace tidal {
namespace {

constexpr char kBesideTools[] = R"(, "tools": [{"type": "function", "function": {"name": "f"}}])";
constexpr char kBesideFunctions[] = R"(, "functions": [{"name": "f"}])";

// All 37 of openai's chat.completions.create (3.57.0), then vLLM's.
constexpr Field kChatFields[] = {
    {"messages", R"([{"role": "user", "content": "Hi"}])", kWorks},
    {"model", R"("m")", kWorks},
    {"audio", R"({"voice": "x", "format": "wav"})", kRefused},
    {"frequency_penalty", "0.5", kWorks},
    {"function_call", R"("none")", kWorks, kBesideFunctions},
    {"functions", R"([{"name": "f"}])", kWorks},
    {"logit_bias", R"({"5": 1})", kWorks},
    {"logprobs", "true", kWorks},
    {"max_completion_tokens", "7", kWorks},
    {"max_tokens", "7", kWorks},
    {"metadata", R"({"a": "b"})", kNoEffect},
    {"modalities", R"(["text"])", kNoEffect},
    {"moderation", R"({"model": "x"})", kNoEffect},
    {"n", "2", kWorks},
    {"parallel_tool_calls", "false", kWorks, kBesideTools},
    {"prediction", R"({"type": "content", "content": "x"})", kRefused},
    {"presence_penalty", "0.5", kWorks},
    {"prompt_cache_key", R"("k")", kNoEffect},
    {"prompt_cache_options", R"({"mode": "implicit"})", kNoEffect},
    {"prompt_cache_retention", R"("24h")", kNoEffect},
    {"reasoning_effort", R"("high")", kWorks},
    {"response_format", R"({"type": "json_object"})", kWorks},
    {"safety_identifier", R"("s")", kNoEffect},
    {"seed", "5", kWorks},
    {"service_tier", R"("auto")", kWorks},  // the reply names one
    {"stop", R"(["x"])", kWorks},
    {"store", "false", kNoEffect},
    {"stream", "true", kWorks},
    {"stream_options", R"({"include_usage": true, "include_obfuscation": false})", kWorks,
     R"(, "stream": true)"},
    {"temperature", "0.5", kWorks},
    {"tool_choice", R"("required")", kWorks, kBesideTools},
    {"tools", R"([{"type": "function", "function": {"name": "f"}}])", kWorks},
    {"top_logprobs", "2", kWorks, R"(, "logprobs": true)"},
    {"top_p", "0.5", kWorks},
    {"user", R"("u")", kNoEffect},
    {"verbosity", R"("low")", kWorks},
    {"web_search_options", R"({"search_context_size": "low"})", kRefused},

    {"add_generation_prompt", "false", kWorks},
    {"allowed_token_ids", "[1]", kWorks},
    {"attention", R"({"mode": "full"})", kWorks},
    {"bad_words", R"(["x"])", kWorks},
    {"cache_salt", R"("s")", kWorks},
    {"chat_template", R"("{{ x }}")", kRefused},
    {"chat_template_kwargs", R"({"a": 1})", kWorks},
    {"continue_final_message", "true", kWorks},
    {"documents", R"([{"text": "x"}])", kWorks},
    {"echo", "true", kWorks},
    {"guided_choice", R"(["a", "b"])", kWorks},
    {"guided_decoding_backend", R"("xgrammar")", kNoEffect},
    {"guided_grammar", R"("root ::= \"a\"")", kWorks},
    {"guided_json", R"({"type": "object"})", kWorks},
    {"guided_regex", R"("a+")", kWorks},
    {"ignore_eos", "true", kWorks},
    {"include_reasoning", "false", kWorks},
    {"include_stop_str_in_output", "true", kWorks},
    {"kv_transfer_params", R"({"do_remote_decode": true})", kRefused},
    {"logits_processors", R"(["x"])", kRefused},
    {"logprob_token_ids", "[1]", kWorks, R"(, "logprobs": true)"},
    {"min_p", "0.1", kWorks},
    {"min_tokens", "2", kWorks},
    {"priority", "1", kWorks},
    {"prompt_logprobs", "1", kWorks},
    {"repetition_penalty", "1.1", kWorks},
    {"request_id", R"("r")", kWorks},
    {"return_token_ids", "true", kWorks},
    {"return_tokens_as_token_ids", "true", kWorks},
    {"session_id", R"("s")", kNoEffect},
    {"skip_special_tokens", "false", kWorks},
    {"spaces_between_special_tokens", "true", kNoEffect},
    {"stop_token_ids", "[5]", kWorks},
    {"stream_interval", "2", kNoEffect},
    {"structured_outputs", R"({"json": {}})", kWorks},
    {"thinking_token_budget", "100", kWorks},
    {"top_k", "5", kWorks},
    {"truncate_prompt_tokens", "5", kWorks},
    {"truncation_side", R"("right")", kWorks},
    {"use_beam_search", "true", kRefused},
    {"vllm_xargs", R"({"a": 1})", kNoEffect},
};

class ChatFieldsTest : public ::testing::TestWithParam<Field> {};

TEST_P(ChatFieldsTest, HasItsAnswer) {
  CheckAnswer(GetParam(),
              R"("messages": [{"role": "user", "content": "Hello"},
                              {"role": "assistant", "content": "Hi"}])",
              ParseChatRequest);
}

INSTANTIATE_TEST_SUITE_P(All, ChatFieldsTest, ::testing::ValuesIn(kChatFields),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace tidal
