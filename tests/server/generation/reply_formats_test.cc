#include "server/generation/reply_formats.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/server/generation/service_harness.h"

namespace tidal {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Writes calls as Hermes does, and thinks.
constexpr char kTemplate[] = R"({%- for m in messages -%}
<|{{ m.role }}|>{{ m.content }}
{%- for call in m.tool_calls or [] -%}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor -%}<|end|>
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|><think>
{%- endif -%})";

class ReplyFormatsTest : public ::testing::Test {
 protected:
  absl::StatusOr<ReplyFormats> Find(const ReplyFormatNames& names) {
    return FindReplyFormats(names, template_.get(), *model_->tokenizer);
  }

  std::unique_ptr<ServedModel> model_ = MakeTestModel();
  std::unique_ptr<ChatTemplate> template_ = *ChatTemplate::Compile(kTemplate, "", "");
};

TEST_F(ReplyFormatsTest, TheTemplateShowsThem) {
  const auto formats = Find({});
  ASSERT_TRUE(formats.ok()) << formats.status();
  EXPECT_EQ(formats->calls_name(), "hermes");
  EXPECT_NE(formats->reasoning_name(), "");
  EXPECT_NE(formats->reason, "");
}

TEST_F(ReplyFormatsTest, NamesOverrideIt) {
  const auto formats = Find({"mistral", "none"});
  ASSERT_TRUE(formats.ok()) << formats.status();
  EXPECT_EQ(formats->calls_name(), "mistral");
  EXPECT_EQ(formats->reasoning_name(), "");
  EXPECT_EQ(formats->reason, "flags");
}

TEST_F(ReplyFormatsTest, OtherNamesAreRefused) {
  EXPECT_THAT(std::string(Find({"hermse", "auto"}).status().message()),
              AllOf(HasSubstr("tool_call_parser: must be one of auto, none, "), HasSubstr("hermes"),
                    HasSubstr("got hermse")));
  EXPECT_THAT(std::string(Find({"auto", "x"}).status().message()),
              HasSubstr("reasoning_parser: must be one of auto, none, "));
}

TEST_F(ReplyFormatsTest, WithoutATemplateThereAreNone) {
  const auto formats = FindReplyFormats({}, nullptr, *model_->tokenizer);
  ASSERT_TRUE(formats.ok()) << formats.status();
  EXPECT_EQ(formats->calls, nullptr);
  EXPECT_EQ(formats->reasoning, nullptr);
}

}  // namespace
}  // namespace tidal
