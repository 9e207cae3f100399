// What a message may be without: a known role, a content.
#include <gtest/gtest.h>

#include <iterator>
#include <string>
#include <utility>

#include "server/openai/openai_codec.h"

namespace tidal {
namespace {

TEST(ChatMessages, OfAnyRoleWithOrWithoutContent) {
  const auto parsed = ParseChatRequest(R"({"messages": [
      {"role": "ipython", "content": "4"},
      {"role": "user", "content": null},
      {"role": "tool"},
      {"role": "assistant", "content": null, "refusal": "No.", "audio": null},
      {"role": "assistant", "content": "Yes.", "refusal": "No.", "tool_calls": null}]})");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto& messages = parsed->calls[0].chat().messages();
  const std::pair<const char*, const char*> expected[] = {
      {"ipython", "4"}, {"user", ""}, {"tool", ""}, {"assistant", "No."}, {"assistant", "Yes."}};
  ASSERT_EQ(messages.size(), static_cast<int>(std::size(expected)));
  for (int i = 0; i < messages.size(); ++i) {
    EXPECT_EQ(messages[i].role(), expected[i].first);
    EXPECT_EQ(messages[i].content(), expected[i].second);
    EXPECT_EQ(messages[i].content_parts_size() + messages[i].tool_calls_size(), 0);
  }
}

}  // namespace
}  // namespace tidal
