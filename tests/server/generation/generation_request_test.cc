#include "server/generation/generation_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/server/generation/service_harness.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class GenerationRequestTest : public ::testing::Test {
 protected:
  absl::StatusOr<GenerationRequest> Parse(const v1::GenerateRequest& request) {
    return ParseGenerationRequest(request, *model_);
  }

  static v1::GenerateRequest Text(const std::string& text) {
    v1::GenerateRequest request;
    request.set_text(text);
    return request;
  }

  std::unique_ptr<ServedModel> model_ = MakeTestModel();
};

struct BadRequest {
  const char* name;
  std::function<void(v1::GenerateRequest*)> break_it;
  const char* message;  // what the error must contain
};

class BadRequestTest : public GenerationRequestTest,
                       public ::testing::WithParamInterface<BadRequest> {};

TEST_P(BadRequestTest, IsRefusedWithTheFieldTheValueAndTheLimit) {
  v1::GenerateRequest request = Text("Hello");
  GetParam().break_it(&request);
  const absl::Status status = Parse(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
}

using R = v1::GenerateRequest;
const BadRequest kBadRequests[] = {
    {"NoPrompt", [](R* r) { r->clear_prompt(); }, "prompt: must be one of"},
    {"EmptyText", [](R* r) { r->set_text(std::string()); }, "prompt: must have at least 1 token"},
    {"EmptyIds", [](R* r) { r->mutable_token_ids(); }, "prompt: must have at least 1 token, got 0"},
    {"IdTooLarge",
     [](R* r) {
       r->mutable_token_ids()->add_ids(5);
       r->mutable_token_ids()->add_ids(4096);
     },
     "token_ids.ids[1]: must be below 4096, got 4096"},
    {"IdHuge", [](R* r) { r->mutable_token_ids()->add_ids(4294967295u); }, "got 4294967295"},
    {"TooManyIds",
     [](R* r) {
       for (int i = 0; i < kTestMaxModelLen; ++i) r->mutable_token_ids()->add_ids(7);
     },
     "prompt: must have at most 199 tokens, got 200"},
    {"LongText", [](R* r) { r->set_text(std::string(500, '7')); },
     "prompt: must have at most 199 tokens, got 501"},
    {"HugeText", [](R* r) { r->set_text(std::string(10 << 20, 'a')); },
     "prompt: must have at most 199 tokens, got at least "},
    {"InvalidUtf8", [](R* r) { r->set_text("ab\xff"); }, "text: "},
    {"NoMessages", [](R* r) { r->mutable_chat(); }, "chat.messages: must have at least 1"},
    {"NoRole", [](R* r) { r->mutable_chat()->add_messages()->set_content("x"); },
     "chat.messages[0].role: must be"},
    {"TemplateRefuses", [](R* r) { r->mutable_chat()->add_messages()->set_role("nobody"); },
     "chat: roles must be known"},
    {"ContinueAndPrompt",
     [](R* r) {
       r->mutable_chat()->add_messages()->set_role("user");
       r->mutable_chat()->set_continue_final_message(true);
       r->mutable_chat()->set_add_generation_prompt(true);
     },
     "chat.add_generation_prompt: must be false"},
    {"TooManyOutputs", [](R* r) { r->set_n(129); }, "n: must be in [1, 128], got 129"},
    {"LongRequestId", [](R* r) { r->set_request_id(std::string(257, 'x')); },
     "request_id: must have at most 256 bytes, got 257"},
    {"LongSalt", [](R* r) { r->set_cache_salt(std::string(257, 'x')); }, "cache_salt: must have"},
    {"Temperature", [](R* r) { r->mutable_sampling()->set_temperature(3); },
     "sampling.temperature: must be in [0, 2], got 3"},
    {"TemperatureNan", [](R* r) { r->mutable_sampling()->set_temperature(std::nanf("")); },
     "sampling.temperature: must be in [0, 2], got nan"},
    {"TopP", [](R* r) { r->mutable_sampling()->set_top_p(0); },
     "sampling.top_p: must be in (0, 1]"},
    {"TopK", [](R* r) { r->mutable_sampling()->set_top_k(-2); }, "sampling.top_k: must be"},
    {"MinP", [](R* r) { r->mutable_sampling()->set_min_p(1.5); }, "sampling.min_p: must be"},
    {"Repetition", [](R* r) { r->mutable_sampling()->set_repetition_penalty(0); },
     "sampling.repetition_penalty: must be in (0, 2], got 0"},
    {"Presence", [](R* r) { r->mutable_sampling()->set_presence_penalty(-3); },
     "sampling.presence_penalty: must be"},
    {"Frequency", [](R* r) { r->mutable_sampling()->set_frequency_penalty(INFINITY); },
     "sampling.frequency_penalty: must be"},
    {"BiasToken", [](R* r) { (*r->mutable_sampling()->mutable_logit_bias())[4096] = 1; },
     "sampling.logit_bias: token ids must be in [0, 4096), got 4096"},
    {"BiasTokenHuge", [](R* r) { (*r->mutable_sampling()->mutable_logit_bias())[4294967295u] = 1; },
     "sampling.logit_bias: token ids must be in [0, 4096)"},
    {"BiasNan", [](R* r) { (*r->mutable_sampling()->mutable_logit_bias())[1] = std::nanf(""); },
     "sampling.logit_bias: must be in [-100, 100], got nan"},
    {"Logprobs", [](R* r) { r->mutable_output()->set_logprobs(21); },
     "output.logprobs: must be in [0, 20], got 21"},
    {"PromptLogprobsTooMany", [](R* r) { r->mutable_output()->set_prompt_logprobs(21); },
     "output.prompt_logprobs: must be in [0, 20], got 21"},
    {"MinTokensOfThePromptAlone",
     [](R* r) {
       r->mutable_stopping()->set_max_tokens(0);
       r->mutable_stopping()->set_min_tokens(1);
     },
     "stopping.min_tokens: must be at most max_tokens, 0, got 1"},
    {"TruncateToNothing", [](R* r) { r->set_truncate_prompt_tokens(0); },
     "truncate_prompt_tokens: must be -1 or in [1, 199], got 0"},
    {"TruncateBelow", [](R* r) { r->set_truncate_prompt_tokens(-2); },
     "truncate_prompt_tokens: must be -1 or in [1, 199], got -2"},
    {"TruncateToMoreThanFits", [](R* r) { r->set_truncate_prompt_tokens(200); },
     "truncate_prompt_tokens: must be -1 or in [1, 199], got 200"},
    {"TruncateATextThatIsTooLongToTokenize",
     [](R* r) {
       r->set_text(std::string(1 << 20, 'x'));
       r->set_truncate_prompt_tokens(-1);
     },
     "prompt: must have at most 199 tokens, got at least"},
    {"MinOverMax",
     [](R* r) {
       r->mutable_stopping()->set_max_tokens(4);
       r->mutable_stopping()->set_min_tokens(5);
     },
     "stopping.min_tokens: must be at most max_tokens, 4, got 5"},
    {"TooManyStops",
     [](R* r) {
       for (int i = 0; i < 17; ++i) r->mutable_stopping()->add_stop(std::string("stop"));
     },
     "stopping.stop: must have at most 16 entries, got 17"},
    {"EmptyStop", [](R* r) { r->mutable_stopping()->add_stop(std::string()); },
     "stopping.stop[0]: must have 1 to 1024 bytes, got 0"},
    {"LongStop", [](R* r) { r->mutable_stopping()->add_stop(std::string(1025, 'x')); }, "got 1025"},
    {"StopTokenId", [](R* r) { r->mutable_stopping()->add_stop_token_ids(9999); },
     "stopping.stop_token_ids[0]: must be below 4096, got 9999"},
    {"TooManyStopTokenIds",
     [](R* r) {
       for (int i = 0; i < 129; ++i) r->mutable_stopping()->add_stop_token_ids(1);
     },
     "stopping.stop_token_ids: must have at most 128 entries, got 129"},
    {"Budget", [](R* r) { r->mutable_attention()->set_budget(65); },
     "attention.budget: must be in [1, 64], got 65"},
    {"AttentionMode",
     [](R* r) { r->mutable_attention()->set_mode(static_cast<v1::AttentionMode>(7)); },
     "attention.mode: must be AUTO, FULL or TIDAL, got 7"},
};
INSTANTIATE_TEST_SUITE_P(Fields, BadRequestTest, ::testing::ValuesIn(kBadRequests),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_F(GenerationRequestTest, UnknownModelIsNotFound) {
  v1::GenerateRequest request = Text("Hello");
  request.set_model("gpt-5");
  const absl::Status status = Parse(request).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_EQ(status.message(), "model: must be tidal-nano or nano, got gpt-5");
}

TEST_F(GenerationRequestTest, EveryServedNameWorks) {
  for (const char* name : {"", "tidal-nano", "nano"}) {
    v1::GenerateRequest request = Text("Hello");
    request.set_model(name);
    EXPECT_TRUE(Parse(request).ok()) << name;
  }
}

TEST_F(GenerationRequestTest, TextGetsBosUnlessToldOtherwise) {
  v1::GenerateRequest request = Text("Hello");
  const std::vector<TokenId> with_bos = Parse(request)->prompt;
  ASSERT_GE(with_bos.size(), 2);
  EXPECT_EQ(with_bos.front(), 0);
  request.set_add_special_tokens(false);
  EXPECT_EQ(Parse(request)->prompt, std::vector<TokenId>(with_bos.begin() + 1, with_bos.end()));
}

TEST_F(GenerationRequestTest, ChatHasItsTemplatesSpecialTokensOnce) {
  v1::GenerateRequest request;
  v1::ChatMessage* message = request.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content("7");
  const TokenId seven = model_->tokenizer->TokenToId("7").value();
  EXPECT_THAT(Parse(request)->prompt, ElementsAre(0, 4, seven, kEndToken, 5));
  request.mutable_chat()->set_add_generation_prompt(false);
  EXPECT_THAT(Parse(request)->prompt, ElementsAre(0, 4, seven, kEndToken));
  request.mutable_chat()->clear_add_generation_prompt();
  request.mutable_chat()->set_continue_final_message(true);
  EXPECT_THAT(Parse(request)->prompt, ElementsAre(0, 4, seven));
}

TEST_F(GenerationRequestTest, ChatWithoutATemplateIsRefused) {
  model_->chat_template = nullptr;
  v1::GenerateRequest request;
  request.mutable_chat()->add_messages()->set_role("user");
  EXPECT_THAT(std::string(Parse(request).status().message()), HasSubstr("no chat template"));
}

TEST_F(GenerationRequestTest, DefaultsAreTheModels) {
  model_->defaults.temperature = 0.7f;
  model_->defaults.top_k = 20;
  model_->defaults.max_tokens = 33;
  const GenerationRequest plain = *Parse(Text("Hello"));
  EXPECT_FLOAT_EQ(plain.sampling.temperature, 0.7f);
  EXPECT_EQ(plain.sampling.top_k, 20);
  EXPECT_EQ(plain.stop.max_tokens, 33);
  EXPECT_EQ(plain.n, 1);
  EXPECT_EQ(plain.request_id.size(), 20);
  EXPECT_THAT(plain.stop.stop_token_ids, ElementsAre(kEndToken, 1));

  v1::GenerateRequest request = Text("Hello");
  request.mutable_sampling()->set_temperature(0);
  request.mutable_sampling()->set_top_k(0);
  request.mutable_stopping()->set_ignore_eos(true);
  request.set_request_id("mine");
  const GenerationRequest explicit_zero = *Parse(request);
  EXPECT_EQ(explicit_zero.sampling.temperature, 0);
  EXPECT_EQ(explicit_zero.sampling.top_k, 0);
  EXPECT_TRUE(explicit_zero.stop.stop_token_ids.empty());
  EXPECT_EQ(explicit_zero.request_id, "mine");
}

TEST_F(GenerationRequestTest, MaxTokensMustFitBesideThePrompt) {
  v1::GenerateRequest request;
  for (int i = 0; i < 150; ++i) request.mutable_token_ids()->add_ids(7);
  EXPECT_EQ(Parse(request)->stop.max_tokens, 50) << "the default is what fits";
  request.mutable_stopping()->set_max_tokens(50);
  EXPECT_EQ(Parse(request)->stop.max_tokens, 50);
  for (const uint32_t too_many : {51u, 4294967295u}) {
    request.mutable_stopping()->set_fit_max_tokens(false);
    request.mutable_stopping()->set_max_tokens(too_many);
    const absl::Status status = Parse(request).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status));
    EXPECT_EQ(status.message(),
              absl::StrCat("stopping.max_tokens: must be at most 50 beside a prompt of 150 tokens, "
                           "as this model's maximum context length is 200 tokens, got ",
                           too_many));
    request.mutable_stopping()->set_fit_max_tokens(true);
    EXPECT_EQ(Parse(request)->stop.max_tokens, 50);
  }
  request.mutable_stopping()->set_max_tokens(3);
  EXPECT_EQ(Parse(request)->stop.max_tokens, 3);
  model_->defaults.max_tokens = 1000;
  request.mutable_stopping()->clear_max_tokens();
  EXPECT_EQ(Parse(request)->stop.max_tokens, 50);
}

TEST_F(GenerationRequestTest, LongestPromptLeavesOneToken) {
  v1::GenerateRequest request;
  for (int i = 0; i < kTestMaxModelLen - 1; ++i) request.mutable_token_ids()->add_ids(7);
  EXPECT_EQ(Parse(request)->stop.max_tokens, 1);
}

TEST_F(GenerationRequestTest, ThePromptAloneMayFillTheModel) {
  v1::GenerateRequest request;
  for (int i = 0; i < kTestMaxModelLen; ++i) request.mutable_token_ids()->add_ids(7);
  EXPECT_THAT(std::string(Parse(request).status().message()), HasSubstr("at most 199 tokens"));
  request.mutable_stopping()->set_max_tokens(0);
  EXPECT_EQ(Parse(request)->stop.max_tokens, 0);
  request.mutable_token_ids()->add_ids(7);
  EXPECT_THAT(std::string(Parse(request).status().message()), HasSubstr("at most 200 tokens"));
}

TEST_F(GenerationRequestTest, AnEchoedPromptIsScoredAsTheOutputIs) {
  v1::GenerateRequest request = Text("Hello");
  EXPECT_FALSE(Parse(request)->sampling.wants_prompt_logprobs());
  request.mutable_output()->set_logprobs(3);
  EXPECT_FALSE(Parse(request)->sampling.wants_prompt_logprobs());
  request.mutable_output()->set_echo(true);
  EXPECT_EQ(Parse(request)->sampling.num_prompt_logprobs, 3);
  request.mutable_output()->set_prompt_logprobs(0);
  EXPECT_EQ(Parse(request)->sampling.num_prompt_logprobs, 0);
  EXPECT_EQ(Parse(request)->sampling.num_logprobs, 3);
}

TEST_F(GenerationRequestTest, TokensWhoseLogprobsAreWanted) {
  v1::GenerateRequest request = Text("Hello");
  v1::Output& output = *request.mutable_output();
  for (const uint32_t id : {9, 3, 4095, 3}) output.add_logprob_token_ids(id);
  EXPECT_EQ(Parse(request).status().message(),
            "output.logprob_token_ids: must be absent where logprobs is, got 4 ids");
  output.set_logprobs(2);
  EXPECT_THAT(Parse(request)->sampling.logprob_token_ids, ElementsAre(3, 9, 4095));
  output.add_logprob_token_ids(4096);
  EXPECT_EQ(Parse(request).status().message(),
            "output.logprob_token_ids[4]: must be below 4096, got 4096");
  output.clear_logprob_token_ids();
  for (int i = 0; i < 128; ++i) output.add_logprob_token_ids(i);
  EXPECT_EQ(Parse(request)->sampling.logprob_token_ids.size(), 128u);
  request.mutable_stopping()->set_max_tokens(0);
  EXPECT_THAT(std::string(Parse(request).status().message()),
              HasSubstr("output.logprob_token_ids: must be absent where max_tokens is 0"));
  output.add_logprob_token_ids(1);
  EXPECT_EQ(Parse(request).status().message(),
            "output.logprob_token_ids: must have at most 128 ids, got 129");
}

TEST_F(GenerationRequestTest, LogprobsOfGivenTokensAreBounded) {
  model_->info.max_model_len = 1 << 20;
  v1::GenerateRequest request = Text("Hello");
  request.mutable_output()->set_logprobs(0);
  for (int i = 0; i < 127; ++i) request.mutable_output()->add_logprob_token_ids(i);
  request.set_n(2);
  request.mutable_stopping()->set_max_tokens(4096);
  EXPECT_TRUE(Parse(request).ok());
  request.mutable_stopping()->set_max_tokens(4097);
  EXPECT_EQ(Parse(request).status().message(),
            "stopping.max_tokens: must be at most 4096 for 2 outputs with 127 logprob_token_ids, "
            "got 4097");
}

// So many that a reply would take a gigabyte.
TEST_F(GenerationRequestTest, LogProbabilitiesOfAPromptAreBounded) {
  model_->info.max_model_len = 1 << 20;
  v1::GenerateRequest request;
  for (int i = 0; i < 100000; ++i) request.mutable_token_ids()->add_ids(7);
  request.mutable_output()->set_prompt_logprobs(9);
  EXPECT_TRUE(Parse(request).ok());
  request.mutable_output()->set_prompt_logprobs(10);
  EXPECT_EQ(Parse(request).status().message(),
            "output.prompt_logprobs: must be at most 9 for 1 outputs of a prompt of 100000 tokens, "
            "got 10");
  request.set_n(11);
  EXPECT_THAT(std::string(Parse(request).status().message()),
              HasSubstr("output.prompt_logprobs: must be absent for 11 outputs of a prompt"));
  request.mutable_output()->clear_prompt_logprobs();
  request.mutable_output()->set_logprobs(1);
  request.mutable_output()->set_echo(true);
  EXPECT_THAT(std::string(Parse(request).status().message()),
              HasSubstr("output.logprobs: must be absent"));
}

TEST_F(GenerationRequestTest, ALongPromptIsCutToOneOfItsEnds) {
  v1::GenerateRequest request;
  for (int i = 0; i < 300; ++i) request.mutable_token_ids()->add_ids(100 + i);
  request.set_truncate_prompt_tokens(3);
  EXPECT_THAT(Parse(request)->prompt, ElementsAre(397, 398, 399));
  request.set_truncate_prompt_tokens(-1);
  EXPECT_EQ(Parse(request)->prompt.size(), 199u);
  request.mutable_stopping()->set_max_tokens(50);
  EXPECT_EQ(Parse(request)->prompt.size(), 150u) << "beside max_tokens";
  request.mutable_stopping()->set_fit_max_tokens(true);
  EXPECT_EQ(Parse(request)->prompt.size(), 199u);
  request.mutable_stopping()->set_max_tokens(0);
  EXPECT_EQ(Parse(request)->prompt.front(), 200);
  request.set_truncate_prompt_end(true);
  EXPECT_EQ(Parse(request)->prompt.back(), 299);

  v1::GenerateRequest text = Text("one two three");
  const std::vector<TokenId> whole = Parse(text)->prompt;
  text.set_truncate_prompt_tokens(2);
  text.mutable_output()->set_echo(true);
  EXPECT_THAT(Parse(text)->prompt, ElementsAre(whole[whole.size() - 2], whole.back()));
  EXPECT_NE(Parse(text)->output.echo, "one two three") << "what is left of it";
  text.set_truncate_prompt_tokens(100);
  EXPECT_EQ(Parse(text)->prompt, whole);
  EXPECT_EQ(Parse(text)->output.echo, "one two three");
}

TEST_F(GenerationRequestTest, SeedIsKeptOrRandom) {
  v1::GenerateRequest request = Text("Hello");
  EXPECT_NE(Parse(request)->sampling.seed, Parse(request)->sampling.seed);
  request.mutable_sampling()->set_seed(0);
  EXPECT_EQ(Parse(request)->sampling.seed, 0);
}

TEST_F(GenerationRequestTest, AttentionIsResolved) {
  v1::GenerateRequest request = Text("Hello");
  AttentionPolicy policy = Parse(request)->attention;
  EXPECT_EQ(policy.mode, AttentionMode::kTidal);
  EXPECT_EQ(policy.token_budget, 8);
  EXPECT_EQ(policy.dense_below, 10);  // the model's, which is above the budget

  request.mutable_attention()->set_budget(64);
  policy = Parse(request)->attention;
  EXPECT_EQ(policy.token_budget, 64);
  EXPECT_EQ(policy.dense_below, 64);

  request.mutable_attention()->set_mode(v1::ATTENTION_MODE_FULL);
  policy = Parse(request)->attention;
  EXPECT_EQ(policy.mode, AttentionMode::kFull);
  EXPECT_EQ(policy.token_budget, 0);
}

TEST_F(GenerationRequestTest, TidalWithoutAPlanIsRefusedAndAutoIsFull) {
  model_->info.tidal_available = false;
  model_->default_attention_mode = AttentionMode::kFull;
  v1::GenerateRequest request = Text("Hello");
  EXPECT_EQ(Parse(request)->attention.mode, AttentionMode::kFull);
  request.mutable_attention()->set_mode(v1::ATTENTION_MODE_TIDAL);
  EXPECT_THAT(std::string(Parse(request).status().message()), HasSubstr("attention.mode: must be"));
}

TEST_F(GenerationRequestTest, ABudgetForReasoningThatNobodyKnowsIsRefusedOrHasNoEffect) {
  v1::GenerateRequest request;
  request.mutable_chat()->add_messages()->set_role("user");
  request.mutable_chat()->mutable_messages(0)->set_content("Hi");
  v1::ReplyParsing& parsing = *request.mutable_output()->mutable_parsing();
  parsing.set_reasoning(true);
  parsing.set_thinking_token_budget(100);
  ASSERT_EQ(model_->reply_formats.reasoning, nullptr);
  EXPECT_THAT(std::string(Parse(request).status().message()),
              HasSubstr("output.parsing.thinking_token_budget: must be absent"));
  parsing.set_fit_thinking_token_budget(true);
  const auto parsed = Parse(request);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_FALSE(parsed->structure.has_value());
}

TEST_F(GenerationRequestTest, CallsThatMustBeMadeArePlainJsonWhereTheModelsOwnAreNotKnown) {
  ASSERT_EQ(nullptr, model_->reply_formats.calls);
  v1::GenerateRequest request;
  request.mutable_chat()->add_messages()->set_role("user");
  request.mutable_chat()->mutable_messages(0)->set_content("Where is the dog?");
  request.mutable_chat()->add_tools(R"({"type": "function", "function": {"name": "look_for"}})");
  request.mutable_output()->mutable_parsing()->set_tool_calls(true);
  const auto free = Parse(request);
  ASSERT_TRUE(free.ok()) << free.status();
  EXPECT_EQ(nullptr, free->output.parsing.calls);
  EXPECT_EQ(std::nullopt, free->structure);

  request.mutable_output()->mutable_parsing()->mutable_tool_choice()->set_required(true);
  const auto forced = Parse(request);
  ASSERT_TRUE(forced.ok()) << forced.status();
  EXPECT_EQ(FindCallFormat("llama3_json"), forced->output.parsing.calls);
  ASSERT_TRUE(forced->structure.has_value());
  EXPECT_THAT(*forced->structure, HasSubstr("look_for"));
}

TEST_F(GenerationRequestTest, EchoIsTheTextAsGivenElseTheDecodedPrompt) {
  v1::GenerateRequest request = Text("Hello <|end|>");
  request.mutable_output()->set_echo(true);
  EXPECT_EQ(Parse(request)->output.echo, "Hello <|end|>");
  request.mutable_chat()->add_messages()->set_role("user");
  request.mutable_chat()->mutable_messages(0)->set_content("Hi");
  EXPECT_EQ(Parse(request)->output.echo, "<|bos|><|user|>Hi<|end|><|assistant|>");
}

}  // namespace
}  // namespace tidal
