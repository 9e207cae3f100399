// Requests: what each field becomes, and what each bad one is told.
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/openai/openai_codec.h"
#include "server/openai/openai_error.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kMessages[] = R"("messages": [{"role": "user", "content": "Hi"}])";

// The call as text, so that a difference is readable.
std::string Text(const google::protobuf::Message& message) { return message.Utf8DebugString(); }

v1::GenerateRequest FromText(const std::string& text) {
  v1::GenerateRequest request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
  return request;
}

OpenAiRequest EmptyRequest() {
  OpenAiRequest request;
  request.calls.emplace_back();
  return request;
}

OpenAiRequest Completion(const std::string& fields) {
  const auto parsed = ParseCompletionRequest(absl::StrCat("{\"prompt\": \"Hi\"", fields, "}"));
  EXPECT_TRUE(parsed.ok()) << fields << ": " << parsed.status();
  return parsed.value_or(EmptyRequest());
}

OpenAiRequest Chat(const std::string& fields) {
  const auto parsed = ParseChatRequest(absl::StrCat("{", kMessages, fields, "}"));
  EXPECT_TRUE(parsed.ok()) << fields << ": " << parsed.status();
  return parsed.value_or(EmptyRequest());
}

TEST(OpenAiRequest, CompletionDefaults) {
  EXPECT_EQ(Text(Completion("").calls[0]), Text(FromText(R"(
      text: "Hi" sampling {} stopping { max_tokens: 16 fit_max_tokens: true }
      output { final_only: true } n: 1)")));
}

TEST(OpenAiRequest, EveryFieldOfACompletion) {
  const OpenAiRequest request = Completion(R"(, "model": "m", "max_tokens": 5, "temperature": 0.5,
      "top_p": 0.25, "n": 3, "stream": true, "stream_options": {"include_usage": true,
      "continuous_usage_stats": true}, "stop": ["a", "b"], "logprobs": 2, "echo": true, "seed": 7,
      "presence_penalty": 1, "frequency_penalty": -1, "logit_bias": {"5": 100}, "user": "u",
      "top_k": -1, "min_p": 0.125, "repetition_penalty": 1.5, "min_tokens": 1, "ignore_eos": true,
      "stop_token_ids": [8, 9], "skip_special_tokens": false, "include_stop_str_in_output": true,
      "add_special_tokens": false, "return_token_ids": true, "priority": -2, "cache_salt": "s",
      "request_id": "r", "best_of": 3, "attention": {"mode": "tidal", "budget": 512})");
  EXPECT_EQ(Text(request.calls[0]), Text(FromText(R"(
      model: "m" text: "Hi"
      sampling { temperature: 0.5 top_k: -1 top_p: 0.25 min_p: 0.125 repetition_penalty: 1.5
                 presence_penalty: 1 frequency_penalty: -1 seed: 7
                 logit_bias { key: 5 value: 100 } }
      stopping { max_tokens: 5 min_tokens: 1 stop: "a" stop: "b" stop_token_ids: 8
                 stop_token_ids: 9 ignore_eos: true include_stop_str_in_output: true }
      output { logprobs: 2 return_token_ids: true echo: true skip_special_tokens: false }
      attention { mode: ATTENTION_MODE_TIDAL budget: 512 }
      n: 3 priority: -2 cache_salt: "s" add_special_tokens: false)")));
  EXPECT_EQ(request.request_id, "r");
  EXPECT_TRUE(request.reply.stream);
  EXPECT_TRUE(request.reply.include_usage);
  EXPECT_TRUE(request.reply.continuous_usage_stats);
  EXPECT_TRUE(request.reply.logprobs);
  EXPECT_TRUE(request.reply.return_token_ids);
  EXPECT_EQ(request.reply.n, 3);
}

TEST(OpenAiRequest, UsageInEveryChunkIsPartOfUsage) {
  const ReplyOptions reply =
      Completion(R"(, "stream": true, "stream_options": {"continuous_usage_stats": true})").reply;
  EXPECT_FALSE(reply.continuous_usage_stats) << "as in vLLM";
  EXPECT_FALSE(reply.include_usage);
}

TEST(OpenAiRequest, NullIsAbsentAndUnknownIsIgnored) {
  EXPECT_EQ(
      Text(Completion(R"(, "max_tokens": null, "temperature": null, "stop": null, "seed": null,
                               "logit_bias": null, "attention": null, "stream_options": null,
                               "suffix": null, "tools": [], "colour": {"deep": [1]})")
               .calls[0]),
      Text(Completion("").calls[0]));
}

TEST(OpenAiRequest, FormsOfPrompts) {
  const auto parse = [](const std::string& prompt) {
    const auto parsed = ParseCompletionRequest(absl::StrCat("{\"prompt\": ", prompt, "}"));
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    return *parsed;
  };
  OpenAiRequest request = parse(R"(["a", "b"])");
  ASSERT_EQ(request.calls.size(), 2u);
  EXPECT_EQ(request.calls[1].text(), "b");
  EXPECT_EQ(request.reply.num_calls, 2u);
  request = parse("[1, 2.0, 3]");
  ASSERT_EQ(request.calls.size(), 1u);
  EXPECT_THAT(request.calls[0].token_ids().ids(), ElementsAre(1, 2, 3));
  request = parse("[[1], [2, 3]]");
  ASSERT_EQ(request.calls.size(), 2u);
  EXPECT_THAT(request.calls[1].token_ids().ids(), ElementsAre(2, 3));
  EXPECT_EQ(parse(R"("")").calls[0].prompt_case(), v1::GenerateRequest::kText);
}

TEST(OpenAiRequest, ReasoningEffortReachesTheTemplate) {
  const auto variables = [](const std::string& fields) {
    const auto parsed =
        ParseChatRequest(R"({"messages": [{"role": "user", "content": "Hi"}], )" + fields + "}");
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    return parsed.ok() ? parsed->calls[0].chat().chat_template_kwargs() : "";
  };
  EXPECT_EQ(variables(R"("reasoning_effort": "low")"),
            R"({"reasoning_effort":"low","enable_thinking":true,"thinking":true})");
  EXPECT_EQ(variables(R"("reasoning_effort": "none", "chat_template_kwargs":
                         {"z": 1.50, "thinking": true})"),
            R"({"z": 1.50, "thinking": true,"reasoning_effort":"none","enable_thinking":false})");
  EXPECT_EQ(variables(R"("reasoning_effort": null)"), "");
  const auto wrong = ParseChatRequest(
      R"({"messages": [{"role": "user", "content": "Hi"}], "reasoning_effort": "huge"})");
  EXPECT_EQ(wrong.status().message(),
            R"(reasoning_effort: must be "none", "minimal", "low", "medium", "high", "xhigh" or )"
            R"("max", got "huge")");
}

TEST(OpenAiRequest, Chat) {
  const auto parsed = ParseChatRequest(R"({"messages": [
      {"role": "developer", "content": "Be kind."},
      {"role": "user", "name": "Ann", "content": [{"type": "text", "text": "one"},
                                                  {"type": "text", "text": "two"}]},
      {"role": "assistant", "content": null}],
      "max_tokens": 3, "max_completion_tokens": 4, "logprobs": true, "top_logprobs": 2,
      "continue_final_message": true, "tool_choice": "none", "modalities": ["text"],
      "response_format": {"type": "text"}})");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(Text(parsed->calls[0]), Text(FromText(R"(
      chat { messages { role: "developer" content: "Be kind." }
             messages { role: "user" content_parts: "one" content_parts: "two" name: "Ann" }
             messages { role: "assistant" }
             add_generation_prompt: false continue_final_message: true }
      sampling {} stopping { max_tokens: 4 }
      output { logprobs: 2 final_only: true parsing { reasoning: true } }
      n: 1)")));
  EXPECT_EQ(parsed->reply.max_tokens_field, "max_completion_tokens");
  EXPECT_FALSE(Chat("").calls[0].stopping().has_max_tokens());
  EXPECT_EQ(Chat(R"(, "logprobs": true)").calls[0].output().logprobs(), 0u);
}

TEST(OpenAiRequest, WhatTemplatesPrintIsAsTheClientWroteIt) {
  const auto parsed = ParseChatRequest(R"({"tools": [], "messages": [
      {"role": "user", "content": [{"type": "input_text", "text": "a"},
                                   {"type": "refusal", "refusal": "b"}]},
      {"role": "assistant", "reasoning_content": "hm",
       "tool_calls": [{"z": 1.50, "function": {"name": "f"}}, {}]},
      {"role": "tool", "tool_call_id": "c1", "content": "4"}],
      "tools": [{"type": "function", "b": 1, "a": 2}], "tool_choice": "auto",
      "documents": [{"z":"é"} , {"a":[]}], "chat_template_kwargs": {"z": 1, "a": 2}})");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(Text(parsed->calls[0].chat()),
            Text(FromText(R"pb(
                   chat {
                     messages { role: "user" content_parts: "a" content_parts: "b" }
                     messages {
                       role: "assistant"
                       reasoning: "hm"
                       tool_calls: '{"z": 1.50, "function": {"name": "f"}}'
                       tool_calls: '{}'
                     }
                     messages { role: "tool" content: "4" tool_call_id: "c1" }
                     tools: '{"type": "function", "b": 1, "a": 2}'
                     documents: '{"z":"é"}'
                     documents: '{"a":[]}'
                     chat_template_kwargs: '{"z": 1, "a": 2}'
                   })pb")
                     .chat()));
}

TEST(OpenAiRequest, SeedsOfBothSigns) {
  EXPECT_EQ(Completion(R"(, "seed": -1)").calls[0].sampling().seed(), ~uint64_t{0});
  EXPECT_EQ(Completion(R"(, "seed": 9223372036854775807)").calls[0].sampling().seed(),
            uint64_t{9223372036854775807u});
}

struct BadField {
  std::string fields;   // after the prompt or the messages
  std::string message;  // how the answer starts
};

const BadField kBadShared[] = {
    {R"("temperature": "hot")", R"(temperature: must be a number, got "hot")"},
    {R"("temperature": 1e300)", "temperature: must be a number, got 1e+300"},
    {R"("top_p": [])", "top_p: must be a number, got an array of 0"},
    {R"("top_k": 2.5)", "top_k: must be an integer in [-2147483648, 2147483647], got 2.5"},
    {R"("top_k": 3000000000)", "top_k: must be an integer"},
    {R"("max_tokens": -1)", "max_tokens: must be an integer in [0, 4294967295], got -1"},
    {R"("max_tokens": true)", "max_tokens: must be an integer"},
    {R"("n": 0)", "n: must be an integer in [1, 128], got 0"},
    {R"("n": 129)", "n: must be an integer in [1, 128], got 129"},
    {R"("stream": 1)", "stream: must be true or false, got 1"},
    {R"("stream_options": {"include_usage": true})", "stream_options: must be absent"},
    {R"("stream": true, "stream_options": [])", "stream_options: must be an object"},
    {R"("stream": true, "stream_options": {"include_usage": 1})",
     "stream_options.include_usage: must be true or false"},
    {R"("stop": 5)", "stop: must be a string or an array of strings, got 5"},
    {R"("stop": ["a", 5])", "stop[1]: must be a string, got 5"},
    {R"("seed": "x")", "seed: must be an integer"},
    {R"("seed": 18446744073709551615)", "seed: must be an integer"},
    {R"("logit_bias": [])", "logit_bias: must be an object"},
    {R"("logit_bias": {"a": 1})", "logit_bias: must be an object whose keys are token ids"},
    {R"("logit_bias": {"a": 1, "5": 1, "b": 1})",
     R"(logit_bias: must be an object whose keys are token ids, got "a", "b")"},
    {R"("logit_bias": {"-1": 1})", "logit_bias: must be an object whose keys are token ids"},
    {R"("logit_bias": {"1": "x"})", R"(logit_bias[1]: must be a number, got "x")"},
    {R"("stop_token_ids": [-1])", "stop_token_ids: must be an array of token ids"},
    {R"("stop_token_ids": ["1"])", "stop_token_ids: must be an array of token ids"},
    {R"("ignore_eos": "yes")", "ignore_eos: must be true or false"},
    {R"("user": 5)", "user: must be a string"},
    {R"("model": 5)", "model: must be a string"},
    {R"("attention": "tidal")", "attention: must be an object"},
    {R"("attention": {"mode": "fast"})", R"(attention.mode: must be "auto", "full" or "tidal")"},
    {R"("attention": {"budget": -5})", "attention.budget: must be an integer"},
    {R"("allowed_token_ids": [])", "allowed_token_ids: must have at least one token id"},
    {R"("allowed_token_ids": [-1])", "allowed_token_ids: must be an array of token ids"},
    {R"("allowed_token_ids": "all")", "allowed_token_ids: must be an array of token ids"},
    {R"("bad_words": [5])", "bad_words[0]: must be a string, got 5"},
    {R"("bad_words": {})", "bad_words: must be a string or an array of strings"},
    {R"("kv_transfer_params": {"a": 1})", "kv_transfer_params: not supported"},
    {R"("service_tier": 5)", "service_tier: must be a string"},
    {R"("use_beam_search": true)", "use_beam_search: not supported"},
    {R"("prompt_logprobs": -1)", "prompt_logprobs: must be in [0, 20] (all of the vocabulary"},
    {R"("prompt_logprobs": 2, "stream": true)",
     "prompt_logprobs: must be absent where stream is true"},
    {R"("truncate_prompt_tokens": "all")", "truncate_prompt_tokens: must be an integer"},
    {R"("truncation_side": "middle")",
     R"(truncation_side: must be "left" or "right", got "middle")"},
    {R"("return_tokens_as_token_ids": 5)", "return_tokens_as_token_ids: must be true or false"},
    {R"("logprob_token_ids": [5])", "logprob_token_ids: must be absent where no logprobs"},
    {R"("logprob_token_ids": [])", "logprob_token_ids: must have at least one token id"},
    {R"("logprob_token_ids": ["a"])", "logprob_token_ids: must be an array of token ids"},
};

TEST(OpenAiRequest, BadFieldsOfBoth) {
  for (const auto& [fields, message] : kBadShared) {
    const auto completion =
        ParseCompletionRequest(absl::StrCat("{\"prompt\": \"Hi\", ", fields, "}"));
    EXPECT_THAT(std::string(completion.status().message()), StartsWith(message)) << fields;
    EXPECT_EQ(completion.status().code(), absl::StatusCode::kInvalidArgument) << fields;
    const auto chat = ParseChatRequest(absl::StrCat("{", kMessages, ", ", fields, "}"));
    EXPECT_THAT(std::string(chat.status().message()), StartsWith(message)) << fields;
  }
}

TEST(OpenAiRequest, BadCompletions) {
  std::string many_prompts = "[\"a\"";
  for (int i = 0; i < 128; ++i) many_prompts += ", \"a\"";
  const BadField cases[] = {
      {"{}", "prompt: must be given"},
      {R"({"prompt": 5})", "prompt: must be a string, an array of strings or token ids, got 5"},
      {R"({"prompt": []})", "prompt: must not be empty"},
      {R"({"prompt": [1, "a"]})", "prompt: must be an array of token ids"},
      {R"({"prompt": ["a", 1]})", "prompt[1]: must be a string or an array of token ids, got 1"},
      {R"({"prompt": [[1], []]})", "prompt[1]: must not be empty"},
      {R"({"prompt": [[1], [-1]]})", "prompt[1]: must be a string or an array of token ids"},
      {R"({"prompt": [4294967296]})", "prompt: must be an array of token ids"},
      {absl::StrCat("{\"prompt\": ", many_prompts, "]}"),
       "prompt: must be at most 128 prompts, got 129"},
      {R"({"prompt": "a", "logprobs": true})", "logprobs: must be an integer"},
      {R"({"prompt": "a", "suffix": "b"})", "suffix: not supported"},
      {R"({"prompt": "a", "n": 2, "best_of": 3})", "best_of: must equal n (2)"},
      {R"({"prompt": "a", "echo": "x"})", "echo: must be true or false"},
  };
  for (const auto& [body, message] : cases) {
    EXPECT_THAT(std::string(ParseCompletionRequest(body).status().message()), StartsWith(message))
        << body;
  }
}

TEST(OpenAiRequest, BadChats) {
  const auto message = [](const std::string& fields) {
    return absl::StrCat("{\"messages\": [{", fields, "}]}");
  };
  const BadField cases[] = {
      {"{}", "messages: must be an array of at least one message"},
      {R"({"messages": []})", "messages: must be an array of at least one message"},
      {R"({"messages": "Hi"})", "messages: must be an array, got \"Hi\""},
      {R"({"messages": ["Hi"]})", "messages[0]: must be an object"},
      {message(R"("content": "Hi")"), "messages[0].role: must be given"},
      {message(R"("role": 5, "content": "Hi")"), "messages[0].role: must be a string, got 5"},
      {message(R"("role": "assistant", "refusal": 5)"), "messages[0].refusal: must be a string"},
      {message(R"("role": "assistant", "audio": {"id": "x"})"), "messages[0].audio: not supported"},
      {message(R"("role": "user", "content": 5)"), "messages[0].content: must be a string"},
      {message(R"("role": "user", "content": ["Hi"])"),
       "messages[0].content[0]: must be an object"},
      {message(R"("role": "user", "content": [{"type": "image_url"}])"),
       R"(messages[0].content[0].type: must be "text", got "image_url")"},
      {message(R"("role": "user", "content": [{"type": "text"}])"),
       "messages[0].content[0].text: must be a string, got null"},
      {message(R"("role": "user", "content": [{"type": ["text"]}])"),
       R"(messages[0].content[0].type: must be "text", got an array of 1)"},
      {message(R"("role": "assistant", "content": [{"type": "refusal", "text": "no"}])"),
       "messages[0].content[0].refusal: must be a string, got null"},
      {message(R"("role": "assistant", "content": "", "tool_calls": {})"),
       "messages[0].tool_calls: must be an array, got an object of 0"},
      {message(R"("role": "assistant", "content": "", "tool_calls": [{}, 5])"),
       "messages[0].tool_calls[1]: must be an object, got 5"},
      {message(R"("role": "tool", "content": "", "tool_call_id": 5)"),
       "messages[0].tool_call_id: must be a string, got 5"},
      {absl::StrCat("{", kMessages, R"(, "tools": "weather"})"), "tools: must be an array"},
      {absl::StrCat("{", kMessages, R"(, "tools": ["weather"]})"), "tools[0]: must be an object"},
      {absl::StrCat("{", kMessages, R"(, "documents": [[]]})"), "documents[0]: must be an object"},
      {absl::StrCat("{", kMessages, R"(, "chat_template_kwargs": []})"),
       "chat_template_kwargs: must be an object"},
      {absl::StrCat("{", kMessages, R"(, "chat_template": "{{ x }}"})"),
       "chat_template: not supported"},
      {absl::StrCat("{", kMessages, R"(, "modalities": ["audio"]})"), "modalities: must be"},
      {absl::StrCat("{", kMessages, R"(, "top_logprobs": 5})"), "top_logprobs: must be absent"},
      {absl::StrCat("{", kMessages, R"(, "logprobs": 5})"), "logprobs: must be true or false"},
      {absl::StrCat("{", kMessages, R"(, "echo": 5})"), "echo: must be true or false"},
  };
  for (const auto& [body, expected] : cases) {
    EXPECT_THAT(std::string(ParseChatRequest(body).status().message()), StartsWith(expected))
        << body;
  }
}

TEST(OpenAiRequest, BadJson) {
  const BadField cases[] = {
      {"", "body: must be valid JSON"},
      {"{\"prompt\": \"a\"", "body: must be valid JSON"},
      {"[1]", "body: must be a JSON object, got an array of 1"},
      {"\"text\"", "body: must be a JSON object"},
      {"{\"prompt\": \"\xC3\x28\"}", "body: must be valid JSON in UTF-8"},
      {"{\"prompt\": \"\xED\xA0\x80\"}", "body: must be valid JSON in UTF-8"},
      {R"({"prompt": "\ud83d"})", "body: must be valid JSON in UTF-8"},
      {"{\"prompt\": \"a\nb\"}", "body: must be valid JSON in UTF-8"},
      {R"({"prompt": "a", "temperature": Infinity})", "body: must be valid JSON"},
      {R"({"prompt": "a", "temperature": 1e999})", "body: must be valid JSON, got a number"},
      {std::string("{\"prompt\": \"a\"}\0 more", 21),
       "body: must be valid JSON in UTF-8, got a syntax error at byte 16"},
      {std::string(100'000, '['), "body: must be JSON nested at most 80 deep"},
      {absl::StrCat("{\"x\": ", std::string(80, '['), std::string(80, ']'), "}"),
       "body: must be JSON nested"},
  };
  for (const auto& [body, message] : cases) {
    EXPECT_THAT(std::string(ParseCompletionRequest(body).status().message()), StartsWith(message));
    EXPECT_TRUE(ToApiError(ParseCompletionRequest(body).status()).param.empty());
  }
  std::string many = "{\"x\": [1";
  for (int i = 0; i < 1 << 20; ++i) many += ",1";
  std::string objects = "{\"x\": [1";  // small in text, large in memory
  for (int i = 0; i < 100'000; ++i) objects += ",{\"\":[]}";
  for (const std::string& body : {many + "]}", objects + "]}"}) {
    EXPECT_THAT(std::string(ParseCompletionRequest(body).status().message()),
                StartsWith("body: must be JSON of at most 1048576 values"));
  }
  many.resize(many.size() - 100);  // a million token ids are fine
  EXPECT_TRUE(ParseCompletionRequest(many + "], \"prompt\": \"a\"}").ok());
  // Brackets in strings are no depth.
  EXPECT_TRUE(
      ParseCompletionRequest(absl::StrCat("{\"prompt\": \"", std::string(50, '['), "\\\"[\"}"))
          .ok());
}

TEST(OpenAiRequest, TokenizeAndDetokenize) {
  const auto text = ParseTokenizeRequest(
      R"({"prompt": "Hi", "add_special_tokens": false, "return_token_strs": true})");
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(text->text(), "Hi");
  EXPECT_FALSE(text->add_special_tokens());
  EXPECT_TRUE(text->return_token_strings());
  const auto chat = ParseTokenizeRequest(absl::StrCat("{", kMessages, "}"));
  ASSERT_TRUE(chat.ok());
  EXPECT_EQ(chat->chat().messages(0).content(), "Hi");
  const auto tools =
      ParseTokenizeRequest(absl::StrCat("{", kMessages, R"(, "tools": [{"a": 1}]})"));
  ASSERT_TRUE(tools.ok());
  EXPECT_THAT(tools->chat().tools(), ElementsAre(R"({"a": 1})"));
  EXPECT_FALSE(ParseTokenizeRequest("{}").ok());
  EXPECT_FALSE(ParseTokenizeRequest(R"({"prompt": 5})").ok());
  const auto tokens = ParseDetokenizeRequest(R"({"tokens": [1, 2]})");
  ASSERT_TRUE(tokens.ok());
  EXPECT_THAT(tokens->token_ids(), ElementsAre(1, 2));
  EXPECT_FALSE(ParseDetokenizeRequest("{}").ok());
  EXPECT_FALSE(ParseDetokenizeRequest(R"({"tokens": "1"})").ok());
}

}  // namespace
}  // namespace tidal
