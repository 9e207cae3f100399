#include "server/openai/generative_scoring.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "nlohmann/json.hpp"
#include "tests/server/openai/reply_events.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string ScoringFault(const std::string& body) {
  return std::string(ReadGenerativeScoring(body).status().message());
}

TEST(GenerativeScoring, EachItemIsACall) {
  const auto texts = ReadGenerativeScoring(
      R"({"query": "Is it? ", "items": ["Rome", "Bonn"], "label_token_ids": [9, 7]})");
  ASSERT_TRUE(texts.ok()) << texts.status();
  ASSERT_EQ(texts->calls.size(), 2u);
  EXPECT_EQ(texts->calls[1].text(), "Is it? Bonn");
  EXPECT_EQ(texts->calls[1].stopping().max_tokens(), 1u);
  EXPECT_THAT(texts->calls[1].output().logprob_token_ids(), ElementsAre(9, 7));
  const auto ids = ReadGenerativeScoring(
      R"({"query": [1, 2], "items": [[3]], "label_token_ids": [9], "item_first": true})");
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_THAT(ids->calls[0].token_ids().ids(), ElementsAre(3, 1, 2));
}

TEST(GenerativeScoring, BadRequests) {
  EXPECT_THAT(ScoringFault(R"({"query": "a", "items": ["b"]})"),
              HasSubstr("label_token_ids: must have at least one token id"));
  EXPECT_THAT(ScoringFault(R"({"query": "a", "items": [], "label_token_ids": [1]})"),
              HasSubstr("items: must be an array of 1 to 128 items"));
  EXPECT_THAT(ScoringFault(R"({"items": ["b"], "label_token_ids": [1]})"),
              HasSubstr("query: must be"));
  EXPECT_THAT(ScoringFault(R"({"query": "a", "items": ["b", [1]], "label_token_ids": [1]})"),
              HasSubstr("items[1]: must be a string where the query is one"));
  EXPECT_THAT(ScoringFault(R"({"query": "a", "items": [5], "label_token_ids": [1]})"),
              HasSubstr("items[0]: must be a string or an array"));
  EXPECT_THAT(ScoringFault(R"({"query": "a", "items": ["b"], "label_token_ids": [9999999999]})"),
              HasSubstr("label_token_ids: must be"));
}

// One item, whose token 5 came, and labels 7 and 9 besides.
nlohmann::json ScoresOf(bool among_labels) {
  GenerativeScores reply({.num_items = 1, .labels = {7, 9}, .among_labels = among_labels},
                         {"x", kCreated});
  v1::GenerateResponse delta = Delta(0, "y");
  AddLogprob(delta, "y", -0.1f, {{"a", std::log(0.2f)}, {"b", std::log(0.6f)}});
  v1::TokenLogprobs& token = *delta.mutable_delta()->mutable_logprobs(0);
  token.mutable_token()->set_token_id(5);
  token.mutable_top(0)->set_token_id(7);
  token.mutable_top(1)->set_token_id(9);
  std::string out;
  for (const auto& event : {Prompt(3), delta, Finish(0, v1::FINISH_REASON_LENGTH), Usage()}) {
    EXPECT_TRUE(reply.OnEvent(0, event, &out).ok());
  }
  EXPECT_EQ(reply.Finish(&out), absl::OkStatus());
  return nlohmann::json::parse(out);
}

TEST(GenerativeScoring, TheScoreIsTheFirstLabelsProbability) {
  const nlohmann::json among = ScoresOf(true);
  EXPECT_EQ(among["id"], "generative-scoring-x");
  EXPECT_EQ(among["data"][0]["index"], 0);
  EXPECT_NEAR(among["data"][0]["score"].get<double>(), 0.25, 1e-6);
  EXPECT_EQ(among["usage"]["prompt_tokens"], 3);
  EXPECT_NEAR(ScoresOf(false)["data"][0]["score"].get<double>(), 0.2, 1e-6);
}

TEST(GenerativeScoring, ErrorsNameTheClientsFieldAndMissingLabelsAreTold) {
  GenerativeScores reply({.num_items = 1, .labels = {7}}, {"x", kCreated});
  const ApiError error = reply.ErrorOf(
      absl::InvalidArgumentError("output.logprob_token_ids[0]: must be below 5, got 7"));
  EXPECT_EQ(error.param, "label_token_ids[0]");
  EXPECT_EQ(error.message, "label_token_ids[0]: must be below 5, got 7");
  std::string out;
  for (const auto& event : {Prompt(3), Finish(0, v1::FINISH_REASON_LENGTH), Usage()}) {
    EXPECT_TRUE(reply.OnEvent(0, event, &out).ok());
  }
  EXPECT_EQ(reply.Finish(&out).code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace tidal
