// What a service answers without generating: tokens, text, and what the model is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "server/generation/generation_service.h"
#include "server/generation/token_queries.h"
#include "tests/server/generation/service_harness.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;

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

TEST(ServiceQueriesTest, TokenStringsAreTheVocabularys) {
  ServiceHarness harness;
  v1::TokenizeRequest request;
  request.set_text("This is");
  request.set_return_token_strings(true);
  const auto tokens = harness.service().Tokenize(request);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->token_strings(tokens->token_strings_size() - 1), "Ġis");
}

TEST(ServiceQueriesTest, ChatsGetSpecialTokensWhereAsked) {
  ServiceHarness harness;
  v1::TokenizeRequest chat;
  v1::ChatMessage* message = chat.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content("7");
  const auto without = harness.service().Tokenize(chat);
  chat.set_add_special_tokens(true);
  EXPECT_EQ(harness.service().Tokenize(chat)->token_ids_size(), without->token_ids_size() + 1);
}

TEST(ServiceQueriesTest, LimitsGrowWithTheModel) {
  for (const int32_t length : {1, 32768, 131072}) {
    EXPECT_EQ(LimitsOfTokenQueries(length).text_bytes, 1536 << 10);
    EXPECT_EQ(LimitsOfTokenQueries(length).token_ids, 256 << 10);
    EXPECT_EQ(LimitsOfTokenQueries(length).reply_bytes, 2 << 20);
  }
  // A whole context fits, however long.
  EXPECT_EQ(LimitsOfTokenQueries(1 << 20).text_bytes, 8 << 20);
  EXPECT_EQ(LimitsOfTokenQueries(1 << 20).token_ids, 1 << 20);
}

TEST(ServiceQueriesTest, QuestionsAreBounded) {
  ServiceHarness harness;
  const TokenQueryLimits limits = LimitsOfTokenQueries(kTestMaxModelLen);
  v1::TokenizeRequest text;
  text.set_text(std::string(limits.text_bytes, '7'));
  const auto most = harness.service().Tokenize(text);
  ASSERT_TRUE(most.ok()) << most.status();
  text.set_return_token_strings(true);
  EXPECT_EQ(harness.service().Tokenize(text).status().message(),
            absl::StrCat("return_token_strings: must be false for more than 262144 tokens, got ",
                         most->token_ids_size()));
  text.mutable_text()->push_back('7');
  EXPECT_EQ(harness.service().Tokenize(text).status().message(),
            "text: must have at most 1572864 bytes of text, got 1572865");
  v1::TokenizeRequest chat;
  v1::ChatMessage* message = chat.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content(text.text());
  EXPECT_THAT(std::string(harness.service().Tokenize(chat).status().message()),
              StartsWith("chat: must have at most 1572864 bytes of text, got 1572900"));
  v1::DetokenizeRequest ids;
  ids.mutable_token_ids()->Resize(262144, 300);
  EXPECT_TRUE(harness.service().Detokenize(ids).ok());
  ids.add_token_ids(300);
  EXPECT_EQ(harness.service().Detokenize(ids).status().message(),
            "token_ids: must have at most 262144 ids, got 262145");
  // The longest token, as often as may be.
  TokenId longest = 0;
  for (TokenId id = 0; id < harness.model().tokenizer->vocab_size(); ++id) {
    const auto bytes = [&](TokenId of) { return harness.model().tokenizer->TokenBytes(of).size(); };
    if (bytes(id) > bytes(longest)) longest = id;
  }
  ids.mutable_token_ids()->Resize(0, 0);
  ids.mutable_token_ids()->Resize(262144, static_cast<uint32_t>(longest));
  EXPECT_EQ(harness.service().Detokenize(ids).status().message(),
            "token_ids: must be of at most 2097152 bytes of text");
}

TEST(ServiceQueriesTest, TheQueueIsBoundedAndLeavesIntakeAlone) {
  HarnessOptions options;
  options.service.max_waiting_queries = 2;
  ServiceHarness harness(options);
  absl::Notification started, go_on;
  ASSERT_TRUE(harness.service()
                  .RunQuery(
                      [&] {
                        started.Notify();
                        go_on.WaitForNotification();
                      },
                      "")
                  .ok());
  started.WaitForNotification();
  EXPECT_TRUE(harness.service().RunQuery([] {}, "alice").ok());
  EXPECT_TRUE(harness.service().RunQuery([] {}, "alice").ok());
  EXPECT_TRUE(absl::IsResourceExhausted(harness.service().RunQuery([] {}, "alice")));
  EXPECT_TRUE(harness.service().RunQuery([] {}, "bob").ok());
  EXPECT_TRUE(harness.Run(harness.MakeRequest()).status.ok());
  go_on.Notify();
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
