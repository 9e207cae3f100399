// Every field of a Messages request that clients send has an answer: it works, it has no effect on
// purpose, or it is refused by its name. A field that comes new belongs here, and into
// docs/messages.md.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/anthropic/messages_request.h"

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

// All of anthropic's messages.create and beta.messages.create (2.14.0), then older ones, then ours.
constexpr Field kFields[] = {
    {"max_tokens", "9", kWorks},
    {"messages", R"([{"role": "user", "content": "Other"}])", kWorks},
    {"model", R"("m")", kWorks},
    {"cache_control", R"({"type": "ephemeral"})", kNoEffect},
    {"container", R"("c")", kRefused},
    {"diagnostics", R"({"previous_message_id": null})", kNoEffect},
    {"inference_geo", R"("eu")", kNoEffect},
    {"metadata", R"({"user_id": "u"})", kNoEffect},
    {"output_config", R"({"effort": "low"})", kWorks},
    {"service_tier", R"("auto")", kNoEffect},
    {"speed", R"("fast")", kNoEffect},
    {"stop_sequences", R"(["x"])", kWorks},
    {"stream", "true", kWorks},
    {"system", R"("Be brief.")", kWorks},
    {"thinking", R"({"type": "disabled"})", kWorks},
    {"tool_choice", R"({"type": "none"})", kWorks},
    {"tools", R"([{"name": "f", "input_schema": {}}])", kWorks},
    {"user_profile_id", R"("u")", kNoEffect},
    {"workspace_id", R"("w")", kNoEffect},

    {"betas", R"(["x"])", kNoEffect},
    {"billing_policy", R"({"type": "x"})", kNoEffect},
    {"compaction", R"({"type": "auto"})", kNoEffect},
    {"context_management", R"({"edits": [{"type": "clear_thinking_20251015"}]})", kNoEffect},
    {"fallback_credit_token", R"("x")", kNoEffect},
    {"fallbacks", R"([{"model": "x"}])", kNoEffect},
    {"mcp_servers", R"([{"type": "url", "url": "https://x", "name": "x"}])", kRefused},
    {"thread", R"({"id": "x"})", kRefused},

    {"output_format", R"({"type": "json_schema", "schema": {}})", kWorks},
    {"temperature", "0.5", kWorks},
    {"top_k", "5", kWorks},
    {"top_p", "0.5", kWorks},

    {"attention", R"({"mode": "full"})", kWorks},
    {"cache_salt", R"("s")", kWorks},
    {"chat_template_kwargs", R"({"a": 1})", kWorks},
    {"priority", "1", kWorks},
};

class MessagesFieldsTest : public ::testing::TestWithParam<Field> {};

std::string Effect(const MessagesRequest& request) {
  return absl::StrCat(request.call.DebugString(), request.reply.stream);
}

// A later member of a name takes the place of an earlier one.
std::string BodyWith(const std::string& member = "") {
  return absl::StrCat(R"({"max_tokens": 7, "messages": [{"role": "user", "content": "Hello"}],)",
                      R"("tools": [{"name": "t", "input_schema": {}}])", member, "}");
}

TEST_P(MessagesFieldsTest, HasItsAnswer) {
  const Field& field = GetParam();
  const auto plain = ParseMessagesRequest(BodyWith());
  const auto with =
      ParseMessagesRequest(BodyWith(absl::StrCat(", \"", field.name, "\": ", field.value)));
  ASSERT_TRUE(plain.ok()) << plain.status();
  if (field.answer == kRefused) {
    EXPECT_EQ(with.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(with.status().message()), StartsWith(absl::StrCat(field.name, ": ")));
    return;
  }
  ASSERT_TRUE(with.ok()) << with.status();
  EXPECT_EQ(Effect(*plain) == Effect(*with), field.answer == kNoEffect);
}

TEST_P(MessagesFieldsTest, NullIsAbsent) {
  const Field& field = GetParam();
  const auto with = ParseMessagesRequest(BodyWith(absl::StrCat(", \"", field.name, "\": null")));
  const bool required = absl::StrContains("max_tokens messages", field.name);
  EXPECT_EQ(with.ok(), !required) << with.status();
}

INSTANTIATE_TEST_SUITE_P(All, MessagesFieldsTest, ::testing::ValuesIn(kFields),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace tidal
