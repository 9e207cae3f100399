#include "server/gateway/router.h"

#include <gtest/gtest.h>

#include <string>

#include "server/anthropic/messages_api.h"

namespace tidal {
namespace {

TEST(Router, DecodesPaths) {
  EXPECT_EQ(*DecodePath("/v1/models/org%2Fa%2fb"), "/v1/models/org/a/b");
  EXPECT_EQ(*DecodePath("/%C3%A9%25+"), "/\xC3\xA9%+");
  EXPECT_EQ(*DecodePath(""), "");
  for (const char* bad : {"/%", "/%2", "/%2g", "/%%41", "/a%zz"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(DecodePath(bad).status())) << bad;
  }
}

TEST(Router, TakesTheRootPathOff) {
  EXPECT_EQ(StripRootPath("/llm", "/llm/v1/models"), "/v1/models");
  EXPECT_EQ(StripRootPath("/llm", "/v1/models"), "/v1/models");
  EXPECT_EQ(StripRootPath("/llm", "/llmv1/models"), "/llmv1/models");
  EXPECT_EQ(StripRootPath("/llm", "/llm/llm/v1"), "/llm/v1");
  EXPECT_EQ(StripRootPath("/llm", "/llm"), "/llm");
  EXPECT_EQ(StripRootPath("", "/v1"), "/v1");
}

TEST(Router, Routes) {
  EXPECT_EQ(FindRoute("POST", "/v1/completions").endpoint, Endpoint::kCompletions);
  EXPECT_EQ(FindRoute("GET", "/v1/completions").endpoint, Endpoint::kWrongMethod);
  EXPECT_EQ(FindRoute("GE", "/health").endpoint, Endpoint::kWrongMethod);
  EXPECT_EQ(FindRoute("GET, HEAD", "/health").endpoint, Endpoint::kWrongMethod);
  EXPECT_EQ(FindRoute("", "/health").endpoint, Endpoint::kWrongMethod);
  EXPECT_EQ(FindRoute("HEAD", "/health").endpoint, Endpoint::kReady);
  EXPECT_EQ(FindRoute("POST", "/ping").endpoint, Endpoint::kReady);
  EXPECT_EQ(FindRoute("GET", "/v1/models/").endpoint, Endpoint::kNotFound);
  EXPECT_EQ(FindRoute("GET", "/v1/models/org/name").tail, "org/name");
  EXPECT_EQ(FindRoute("GET", "/health/").endpoint, Endpoint::kNotFound);
  for (const char* path : {"/v1/embeddings", "/score", "/v2/rerank", "/v1/load_lora_adapter"}) {
    const Route route = FindRoute("POST", path);
    EXPECT_EQ(route.endpoint, Endpoint::kNotOffered) << path;
    EXPECT_NE(route.refusal, nullptr);
    EXPECT_FALSE(route.is_public);
    EXPECT_EQ(FindRoute("GET", path).endpoint, Endpoint::kWrongMethod) << path;
  }
  const Route stored = FindRoute("DELETE", "/v1/responses/resp_1");
  EXPECT_EQ(stored.endpoint, Endpoint::kStoredResponse);
  EXPECT_EQ(stored.tail, "resp_1");
  EXPECT_EQ(stored.path, "/v1/responses/{response_id}");
  EXPECT_EQ(FindRoute("POST", "/v1/responses/resp_1/cancel").tail, "resp_1");
  EXPECT_EQ(FindRoute("GET", "/v1/responses/resp_1/input_items").tail, "resp_1");
  EXPECT_EQ(FindRoute("GET", "/v1/responses/resp_1/cancel").endpoint, Endpoint::kWrongMethod);
  EXPECT_EQ(FindRoute("POST", "/v1/responses/resp_1").endpoint, Endpoint::kWrongMethod);
  EXPECT_EQ(FindRoute("GET", "/v1/responses/").endpoint, Endpoint::kNotFound);
  EXPECT_TRUE(FindRoute("GET", "/metrics").is_public);
  EXPECT_FALSE(FindRoute("GET", "/v1/models").is_public);
  EXPECT_EQ(FindRoute("GET", "/secret").path, "other") << "no series a client can make up";
}

TEST(Router, EachPathHasTheFormOfItsApi) {
  EXPECT_EQ(FindRoute("POST", "/v1/messages").endpoint, Endpoint::kMessages);
  EXPECT_EQ(FindRoute("POST", "/v1/messages/count_tokens").endpoint, Endpoint::kCountTokens);
  for (const char* path : {"/v1/messages", "/v1/messages/count_tokens", "/v1/messages/batches"}) {
    EXPECT_EQ(FindRoute("POST", path).format, &kMessagesFormat) << path;
  }
  for (const char* path : {"/v1/messagesx", "/v1/completions", "/v1", ""}) {
    EXPECT_EQ(FindRoute("POST", path).format, &kOpenAiFormat) << path;
  }
  for (const std::string& path : GeneratingPaths()) {
    EXPECT_NE(FindRoute("POST", path).parse, nullptr) << path;
  }
  EXPECT_EQ(GeneratingPaths().size(), 7u);
}

}  // namespace
}  // namespace tidal
