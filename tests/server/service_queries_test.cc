// What a service answers without generating: tokens, text, and what the model is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/generation_service.h"
#include "tests/server/service_harness.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;

TEST(ServiceQueriesTest, TokenizeAndDetokenizeAreInverse) {
  ServiceHarness harness;
  v1::TokenizeRequest request;
  request.set_text("Hello 12");
  request.set_return_token_strings(true);
  const auto tokens = harness.service().Tokenize(request);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->max_model_len(), kTestMaxModelLen);
  EXPECT_EQ(tokens->token_ids(0), 0);
  EXPECT_EQ(tokens->token_strings_size(), tokens->token_ids_size());
  EXPECT_EQ(tokens->token_strings(0), "<|bos|>");
  v1::DetokenizeRequest back;
  *back.mutable_token_ids() = tokens->token_ids();
  EXPECT_EQ(harness.service().Detokenize(back)->text(), "<|bos|>Hello 12");
  request.set_add_special_tokens(false);
  EXPECT_NE(harness.service().Tokenize(request)->token_ids(0), 0);
}

TEST(ServiceQueriesTest, TokenizeTakesChatsAndRefusesNonsense) {
  ServiceHarness harness;
  v1::TokenizeRequest chat;
  v1::ChatMessage* message = chat.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content("7");
  EXPECT_EQ(harness.service().Tokenize(chat)->token_ids_size(), 5);
  EXPECT_TRUE(absl::IsInvalidArgument(harness.service().Tokenize({}).status()));
  v1::DetokenizeRequest ids;
  ids.add_token_ids(4096);
  EXPECT_EQ(harness.service().Detokenize(ids).status().message(),
            "token_ids[0]: must be below 4096, got 4096");
  ids.set_model("other");
  EXPECT_TRUE(absl::IsNotFound(harness.service().Detokenize(ids).status()));
}

TEST(ServiceQueriesTest, ModelInfoIsTheModels) {
  ServiceHarness harness;
  const v1::ModelInfo info = harness.service().GetModelInfo();
  EXPECT_EQ(info.model(), "tidal-nano");
  EXPECT_THAT(info.served_names(), ElementsAre("tidal-nano", "nano"));
  EXPECT_EQ(info.max_model_len(), kTestMaxModelLen);
  EXPECT_EQ(info.attention_pattern(), "DDSRRRSR");
  EXPECT_EQ(info.default_attention_mode(), v1::ATTENTION_MODE_TIDAL);
  EXPECT_EQ(info.default_token_budget(), 8);
  EXPECT_EQ(info.version(), "1.2.3");
  harness.model().tokenizer_info = "{}";
  EXPECT_EQ(harness.service().GetModelInfo().tokenizer_info(), "") << "it may be large";
  v1::GetModelInfoRequest request;
  request.set_tokenizer_info(true);
  EXPECT_EQ(harness.service().GetModelInfo(request).tokenizer_info(), "{}");
}

}  // namespace
}  // namespace tidal
