#include "server/generation/output_assembler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/server/generation/service_harness.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;

class OutputAssemblerTest : public ::testing::Test {
 protected:
  OutputAssembler Make() { return OutputAssembler(0, model_->tokenizer.get(), options_, stop_); }
  std::vector<TokenId> Tokens(const std::string& text) {
    return *model_->tokenizer->Encode(text, /*add_special_tokens=*/false);
  }
  static SampledToken Token(TokenId id) { return {id, -0.5f, {}}; }
  static FinishInfo Finished(FinishReason reason, TokenId stop_token = -1) {
    FinishInfo info;
    info.reason = reason;
    info.stop_token = stop_token;
    return info;
  }
  // Everything the assembler gives for `text` token by token, and its end.
  std::string Run(OutputAssembler& assembler, const std::string& text) {
    std::string out;
    for (TokenId id : Tokens(text)) {
      assembler.Append(Token(id));
      if (auto delta = assembler.TakeDelta()) out += delta->text();
    }
    assembler.Finish(Finished(FinishReason::kLength));
    if (auto delta = assembler.TakeDelta()) out += delta->text();
    return out;
  }

  std::unique_ptr<ServedModel> model_ = MakeTestModel();
  OutputOptions options_;
  StopCriteria stop_;
};

TEST_F(OutputAssemblerTest, TextComesBackWhole) {
  OutputAssembler assembler = Make();
  EXPECT_EQ(Run(assembler, "Once upon a time, 12345 \xF0\x9F\xA6\x8A ends."),
            "Once upon a time, 12345 \xF0\x9F\xA6\x8A ends.");
  EXPECT_EQ(assembler.reason(), v1::FINISH_REASON_LENGTH);
}

TEST_F(OutputAssemblerTest, NoDeltaEndsInsideACodePoint) {
  OutputAssembler assembler = Make();
  const std::vector<TokenId> tokens = Tokens("\xF0\x9F\xA6\x8A");  // bytes, a token each
  ASSERT_GT(tokens.size(), 1);
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    assembler.Append(Token(tokens[i]));
    EXPECT_FALSE(assembler.TakeDelta().has_value());
  }
  assembler.Append(Token(tokens.back()));
  const auto delta = assembler.TakeDelta();
  ASSERT_TRUE(delta.has_value());
  EXPECT_EQ(delta->text(), "\xF0\x9F\xA6\x8A");
  EXPECT_EQ(delta->num_tokens(), tokens.size());
}

TEST_F(OutputAssemblerTest, AnIncompleteCodePointAtTheEndIsReplaced) {
  OutputAssembler assembler = Make();
  assembler.Append(Token(Tokens("\xF0\x9F\xA6\x8A").front()));
  assembler.Finish(Finished(FinishReason::kLength));
  EXPECT_EQ(assembler.TakeDelta()->text(), "\xEF\xBF\xBD");
}

TEST_F(OutputAssemblerTest, StopStringAcrossTokensIsCutOut) {
  options_.stop_strings = {"234"};
  OutputAssembler assembler = Make();
  EXPECT_EQ(Run(assembler, "a 12345"), "a 1");  // one token a digit
  EXPECT_EQ(assembler.reason(), v1::FINISH_REASON_STOP);
  EXPECT_TRUE(assembler.stopped_by_string());
  EXPECT_EQ(assembler.MakeFinish().stop_string(), "234");
  EXPECT_FALSE(assembler.MakeFinish().has_stop_token_id());
  EXPECT_EQ(assembler.completion_tokens(), Tokens("a 1234").size());
}

TEST_F(OutputAssemblerTest, StopStringMayBeIncluded) {
  options_.stop_strings = {"234"};
  options_.include_stop_in_output = true;
  OutputAssembler assembler = Make();
  EXPECT_EQ(Run(assembler, "a 12345"), "a 1234");
}

TEST_F(OutputAssemblerTest, WhatOnlyLooksLikeAStopStringIsGivenBack) {
  options_.stop_strings = {"2349"};
  OutputAssembler assembler = Make();
  EXPECT_EQ(Run(assembler, "a 1234"), "a 1234");
  EXPECT_EQ(assembler.reason(), v1::FINISH_REASON_LENGTH);
}

TEST_F(OutputAssemblerTest, StopStringsCountOnlyAfterMinTokens) {
  options_.stop_strings = {"3"};
  stop_.min_tokens = 4;
  OutputAssembler assembler = Make();
  EXPECT_EQ(Run(assembler, "1233312"), "1233");  // the fifth token is the first that may stop it
}

TEST_F(OutputAssemblerTest, EndTokenIsCountedAndHidden) {
  stop_.stop_token_ids = {kEndToken};
  options_.return_token_ids = true;
  options_.skip_special_tokens = false;
  OutputAssembler assembler = Make();
  const TokenId seven = Tokens("7").front();
  assembler.Append(Token(seven));
  assembler.Append(Token(kEndToken));
  assembler.Finish(Finished(FinishReason::kStop, kEndToken));
  const auto delta = assembler.TakeDelta();
  EXPECT_EQ(delta->text(), "7");
  EXPECT_THAT(delta->token_ids(), ElementsAre(seven, kEndToken));
  EXPECT_EQ(assembler.completion_tokens(), 2);
  EXPECT_EQ(assembler.MakeFinish().stop_token_id(), kEndToken);
  EXPECT_EQ(assembler.MakeFinish().reason(), v1::FINISH_REASON_STOP);
}

TEST_F(OutputAssemblerTest, EndTokenIsShownWhenAskedFor) {
  stop_.stop_token_ids = {kEndToken};
  options_.include_stop_in_output = true;
  options_.skip_special_tokens = false;
  OutputAssembler assembler = Make();
  assembler.Append(Token(kEndToken));
  assembler.Finish(Finished(FinishReason::kStop, kEndToken));
  EXPECT_EQ(assembler.TakeDelta()->text(), "<|end|>");
}

TEST_F(OutputAssemblerTest, AStopTokenThatDoesNotEndTheOutputIsPartOfIt) {
  const TokenId seven = Tokens("7").front();
  stop_.stop_token_ids = {seven};
  stop_.min_tokens = 2;
  OutputAssembler assembler = Make();
  assembler.Append(Token(seven));  // too early to stop
  EXPECT_FALSE(assembler.TakeDelta().has_value());
  assembler.Append(Token(Tokens("8").front()));
  EXPECT_EQ(assembler.TakeDelta()->text(), "78");
  assembler.Append(Token(seven));
  assembler.Finish(Finished(FinishReason::kStop, seven));
  EXPECT_EQ(assembler.TakeDelta()->text(), "");
  EXPECT_EQ(assembler.completion_tokens(), 3);
}

TEST_F(OutputAssemblerTest, TokensAfterAStopStringAreIgnored) {
  options_.stop_strings = {"2"};
  options_.return_token_ids = true;
  OutputAssembler assembler = Make();
  for (TokenId id : Tokens("1234")) assembler.Append(Token(id));
  assembler.Finish(Finished(FinishReason::kCancelled));
  const auto delta = assembler.TakeDelta();
  EXPECT_EQ(delta->text(), "1");
  EXPECT_EQ(delta->token_ids_size(), 2);
  EXPECT_EQ(assembler.reason(), v1::FINISH_REASON_STOP);
  EXPECT_FALSE(assembler.TakeDelta().has_value());
}

TEST_F(OutputAssemblerTest, FinalOnlyGivesOneDelta) {
  options_.final_only = true;
  options_.echo = "Prompt: ";
  OutputAssembler assembler = Make();
  for (TokenId id : Tokens("1 2 3")) {
    assembler.Append(Token(id));
    EXPECT_FALSE(assembler.TakeDelta().has_value());
  }
  assembler.Finish(Finished(FinishReason::kLength));
  EXPECT_EQ(assembler.TakeDelta()->text(), "Prompt: 1 2 3");
  EXPECT_FALSE(assembler.TakeDelta().has_value());
}

// A reply begins with what the model says: until then it may be refused.
TEST_F(OutputAssemblerTest, EchoComesWithTheFirstToken) {
  options_.echo = "Prompt";
  OutputAssembler assembler = Make();
  EXPECT_FALSE(assembler.TakeDelta().has_value());
  assembler.Append(Token(Tokens("7").front()));
  const auto delta = assembler.TakeDelta();
  ASSERT_TRUE(delta.has_value());
  EXPECT_EQ(delta->text(), "Prompt7");
  EXPECT_EQ(delta->num_tokens(), 1);
}

TEST_F(OutputAssemblerTest, EchoWithoutTokensComesAtTheEnd) {
  options_.echo = "Prompt";
  OutputAssembler assembler = Make();
  assembler.Finish(Finished(FinishReason::kLength));
  const auto delta = assembler.TakeDelta();
  ASSERT_TRUE(delta.has_value());
  EXPECT_EQ(delta->text(), "Prompt");
  EXPECT_EQ(delta->num_tokens(), 0);
  EXPECT_EQ(assembler.reason(), v1::FINISH_REASON_LENGTH);
}

TEST_F(OutputAssemblerTest, LogprobsCarryTextAndExactBytes) {
  options_.logprobs = true;
  OutputAssembler assembler = Make();
  const TokenId seven = Tokens("7").front();
  const TokenId first_byte = Tokens("\xF0\x9F\xA6\x8A").front();
  assembler.Append({seven, -0.25f, {{seven, -0.25f}, {first_byte, -2.0f}}});
  const auto delta = assembler.TakeDelta();
  ASSERT_EQ(delta->logprobs_size(), 1);
  const v1::TokenLogprobs& logprobs = delta->logprobs(0);
  EXPECT_EQ(logprobs.token().token(), "7");
  EXPECT_EQ(logprobs.token().bytes(), "7");
  EXPECT_EQ(logprobs.token().token_id(), seven);
  EXPECT_FLOAT_EQ(logprobs.token().logprob(), -0.25f);
  ASSERT_EQ(logprobs.top_size(), 2);
  EXPECT_EQ(logprobs.top(1).token(), "\xEF\xBF\xBD");  // no whole code point
  EXPECT_EQ(logprobs.top(1).bytes(), std::string(model_->tokenizer->TokenBytes(first_byte)));
}

TEST_F(OutputAssemblerTest, AnEmptyOutputGivesOnlyItsFinish) {
  OutputAssembler assembler = Make();
  assembler.Finish(Finished(FinishReason::kStop, kEndToken));
  EXPECT_TRUE(assembler.ended());
  EXPECT_FALSE(assembler.TakeDelta().has_value());
}

// What comes of `text` token by token.
struct Parts {
  std::string text, reasoning;
  std::vector<v1::ToolCallDelta> calls;
  v1::FinishReason reason;
  int32_t reasoning_tokens;
};

class ReplyPartsTest : public OutputAssemblerTest {
 protected:
  ReplyPartsTest() {
    options_.parsing.calls = FindCallFormat("hermes");
    options_.parsing.reasoning = FindReasoningFormat("qwen3");
  }

  Parts Take(const std::vector<TokenId>& tokens, FinishReason reason) {
    OutputAssembler assembler = Make();
    Parts parts = {};
    const auto take = [&] {
      const auto delta = assembler.TakeDelta();
      if (!delta.has_value()) return;
      parts.text += delta->text();
      parts.reasoning += delta->reasoning();
      for (const v1::ToolCallDelta& piece : delta->tool_calls()) {
        if (!piece.id().empty()) {
          EXPECT_EQ(piece.index(), parts.calls.size());
          parts.calls.emplace_back().set_name(piece.name());
        }
        parts.calls.at(piece.index()).mutable_arguments()->append(piece.arguments());
      }
    };
    for (TokenId id : tokens) {
      assembler.Append(Token(id));
      take();
    }
    assembler.Finish(Finished(reason));
    take();
    parts.reason = assembler.reason();
    parts.reasoning_tokens = assembler.reasoning_tokens();
    return parts;
  }
};

TEST_F(ReplyPartsTest, ReasoningAndCallsHaveFieldsOfTheirOwn) {
  const Parts parts =
      Take(Tokens("<think>Let me see.</think>\n\nI ask. "
                  "<tool_call>\n{\"name\": \"sum\", \"arguments\": {\"a\": [1, 2]}}\n</tool_call>"),
           FinishReason::kStop);
  EXPECT_EQ(parts.reasoning, "Let me see.");
  EXPECT_EQ(parts.text, "I ask.");
  ASSERT_EQ(parts.calls.size(), 1u);
  EXPECT_EQ(parts.calls[0].name(), "sum");
  EXPECT_EQ(parts.calls[0].arguments(), "{\"a\": [1, 2]}");
  EXPECT_EQ(parts.reason, v1::FINISH_REASON_TOOL_CALLS);
  EXPECT_GT(parts.reasoning_tokens, 3);
  EXPECT_LT(parts.reasoning_tokens, 30);
}

TEST_F(ReplyPartsTest, ACallCutByLengthGivesWhatCame) {
  const Parts parts = Take(Tokens("<tool_call>{\"name\": \"sum\", \"arguments\": {\"a\": [1, "),
                           FinishReason::kLength);
  ASSERT_EQ(parts.calls.size(), 1u);
  EXPECT_EQ(parts.calls[0].arguments().substr(0, 7), "{\"a\": [");
  EXPECT_EQ(parts.reason, v1::FINISH_REASON_LENGTH);
}

TEST_F(ReplyPartsTest, WhatIsNoCallIsText) {
  const std::string text = "<tool_call>no</tool_call>";
  const Parts parts = Take(Tokens(text), FinishReason::kStop);
  EXPECT_EQ(parts.text, text);
  EXPECT_EQ(parts.reason, v1::FINISH_REASON_STOP);
}

TEST_F(ReplyPartsTest, AStopStringEndsItAll) {
  options_.stop_strings = {"see"};
  const Parts parts = Take(Tokens("<think>Let me see.</think> Hi"), FinishReason::kStop);
  EXPECT_EQ(parts.reasoning, "Let me");
  EXPECT_EQ(parts.text, "");
  EXPECT_EQ(parts.reason, v1::FINISH_REASON_STOP);
}

TEST_F(ReplyPartsTest, SpecialTokensAreTextWhereThatIsWanted) {
  std::vector<TokenId> tokens = Tokens("Hello");
  tokens.push_back(*model_->tokenizer->TokenToId("<|reserved|>"));
  EXPECT_EQ(Take(tokens, FinishReason::kStop).text, "Hello");
  options_.skip_special_tokens = false;
  EXPECT_EQ(Take(tokens, FinishReason::kStop).text, "Hello<|reserved|>");
}

// A marker that is a special token counts as that token, and spelled out it is text.
TEST_F(ReplyPartsTest, MarkersThatAreSpecialTokens) {
  CallFormat format = *FindCallFormat("hermes");
  format.opens = {"<|reserved|>"};
  options_.parsing.calls = &format;
  options_.parsing.special = {"<|reserved|>"};
  std::vector<TokenId> tokens = {*model_->tokenizer->TokenToId("<|reserved|>")};
  for (TokenId id : Tokens("{\"name\": \"now\", \"arguments\": {}}")) tokens.push_back(id);
  const Parts parts = Take(tokens, FinishReason::kStop);
  ASSERT_EQ(parts.calls.size(), 1u);
  EXPECT_EQ(parts.calls[0].name(), "now");
  EXPECT_EQ(parts.text, "");
}

}  // namespace
}  // namespace tidal
