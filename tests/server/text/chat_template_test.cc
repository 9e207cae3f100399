#include "server/text/chat_template.h"

#include <gtest/gtest.h>

#include <string>

#include "server/text/jinja/json_value.h"

namespace tidal {
namespace {

constexpr char kChatMl[] =
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}";

absl::StatusOr<std::string> RenderWith(std::string_view source, const ChatTemplateInput& input) {
  auto compiled = ChatTemplate::Compile(source, "<s>", "</s>");
  if (!compiled.ok()) return compiled.status();
  return (*compiled)->Render(input);
}

TEST(ChatTemplateTest, TidalNano) {
  auto loaded = ChatTemplate::Load("models/tidal-nano");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ChatTemplateInput input;
  input.messages = {{"system", {"Be brief."}}, {"user", {" Hello!\n"}}};
  auto text = (*loaded)->Render(input);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "<|bos|><|system|>Be brief.<|end|><|user|> Hello!\n<|end|><|assistant|>");
  input.add_generation_prompt = false;
  input.messages.clear();
  text = (*loaded)->Render(input);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "<|bos|>");
}

TEST(ChatTemplateTest, ContinueFinalMessage) {
  ChatTemplateInput input;
  input.messages = {{"user", {"Count"}}, {"assistant", {"One, two"}}};
  input.continue_final_message = true;
  EXPECT_EQ(*RenderWith(kChatMl, input), "<|user|>Count<|end|>\n<|assistant|>One, two");
  input.messages.back().content = {"One, two  "};  // which this template trims
  EXPECT_EQ(*RenderWith(kChatMl, input), "<|user|>Count<|end|>\n<|assistant|>One, two");
  const char untrimmed[] = "{% for m in messages %}[{{ m.content }}]{% endfor %}";
  EXPECT_EQ(*RenderWith(untrimmed, input), "[Count][One, two  ");
  input.messages.back().content = {};
  EXPECT_EQ(*RenderWith(untrimmed, input), "[Count][");
  EXPECT_TRUE(absl::IsFailedPrecondition(RenderWith("{{ messages[0].content }}", input).status()));
  input.messages.clear();
  EXPECT_TRUE(absl::IsFailedPrecondition(RenderWith(kChatMl, input).status()));
}

TEST(ChatTemplateTest, NamesAreGivenWhenThereAreAny) {
  ChatTemplateInput input;
  input.messages = {{"user", {"a"}, "Ann"}, {"user", {"b"}}};
  EXPECT_EQ(*RenderWith("{% for m in messages %}{{ m.name | default('?') }};{% endfor %}", input),
            "Ann;?;");
}

TEST(ChatTemplateTest, RaiseExceptionSpeaksForItself) {
  const auto text = RenderWith("a\n{{ raise_exception('Roles must alternate') }}", {});
  EXPECT_TRUE(absl::IsInvalidArgument(text.status()));
  EXPECT_EQ(std::string(text.status().message()), "Roles must alternate");
}

TEST(ChatTemplateTest, ErrorsHaveAPosition) {
  auto compiled = ChatTemplate::Compile("ab\n  {% endfor %}", "", "");
  EXPECT_TRUE(absl::IsInvalidArgument(compiled.status()));
  EXPECT_EQ(std::string(compiled.status().message()), "line 2, column 6: unknown tag 'endfor'");
  const auto text = RenderWith("{{ 1 }}\n\n{{ 'a' + 1 }}", {});
  EXPECT_EQ(std::string(text.status().message()),
            "line 3, column 8: can only concatenate str (not \"int\") to str");
}

TEST(ChatTemplateTest, InvalidUtf8) {
  EXPECT_TRUE(absl::IsInvalidArgument(ChatTemplate::Compile("a\xFF", "", "").status()));
  ChatTemplateInput input;
  input.messages = {{"user", {"a\xC3"}}};
  EXPECT_EQ(*RenderWith("{{ messages[0].content }}", input), "a\xEF\xBF\xBD");
}

// What a template sees of a message, as JSON.
std::string Shown(const std::string& source_start, const ChatTurn& turn) {
  ChatTemplateInput input;
  input.messages = {turn};
  return *RenderWith(source_start + "{{ messages[0] | tojson }}", input);
}

constexpr char kPartsLoop[] =
    "{% for m in [] %}{% endfor %}{% for m in messages %}{% if false %}{% for p in m.content %}"
    "{% endfor %}{% endif %}{% endfor %}";

TEST(ChatTemplateTest, ContentIsAStringUnlessTheTemplateLoopsOverIt) {
  const ChatTurn two = {"user", {"a", "", "b"}};
  EXPECT_EQ(Shown("", two), R"({"role": "user", "content": "a\nb"})");
  EXPECT_EQ(Shown("", {"assistant", {}}), R"({"role": "assistant", "content": ""})");
  EXPECT_EQ(Shown(kPartsLoop, {"user", {"a", "b"}}),
            R"({"role": "user", "content": [{"type": "text", "text": "a"}, )"
            R"({"type": "text", "text": "b"}]})");
  EXPECT_EQ(Shown(kPartsLoop, {"assistant", {}}), R"({"role": "assistant", "content": []})");
  // Results of tools are a string to every template.
  EXPECT_EQ(Shown(kPartsLoop, {.role = "tool", .content = {"a", "b"}, .tool_call_id = "c1"}),
            R"({"role": "tool", "content": "a\nb", "tool_call_id": "c1"})");
}

TEST(ChatTemplateTest, ContinuesTheLastPart) {
  ChatTemplateInput input;
  input.messages = {{"assistant", {"a", "b"}}};
  input.continue_final_message = true;
  EXPECT_EQ(*RenderWith("{% for m in messages %}{% for p in m.content %}<{{ p.text }}>{% endfor %}"
                        "{% endfor %}",
                        input),
            "<a><b");
  input.messages = {{"assistant", {"a", ""}}};
  EXPECT_EQ(*RenderWith("{{ messages[0].content }};", input), "a");
}

TEST(ChatTemplateTest, ReasoningHasEveryNameItIsKnownBy) {
  EXPECT_EQ(Shown("", {.role = "assistant", .content = {"4"}, .reasoning = "2 + 2"}),
            R"({"role": "assistant", "content": "4", "reasoning": "2 + 2", )"
            R"("reasoning_content": "2 + 2", "thinking": "2 + 2"})");
}

TEST(ChatTemplateTest, DevelopersAreTheSystemToTemplatesThatDoNotKnowThem) {
  EXPECT_EQ(Shown("", {"developer", {"a"}}), R"({"role": "system", "content": "a"})");
  EXPECT_EQ(Shown("{# developer #}", {"developer", {"a"}}),
            R"({"role": "developer", "content": "a"})");
}

TEST(ChatTemplateTest, ToolsDocumentsAndVariables) {
  constexpr char kAll[] =
      "{{ tools | tojson }} {{ documents | tojson }} {{ enable_thinking | default('unset') }} "
      "{{ bos_token }}";
  ChatTemplateInput input;
  EXPECT_EQ(*RenderWith(kAll, input), "null null unset <s>");
  input.tools = {*jinja::ParseJson(R"({"z": 1, "a": [2.0, "é"]})")};
  input.documents = {*jinja::ParseJson(R"({"text": "rain"})")};
  input.variables.SetName("enable_thinking", jinja::Value(false));
  input.variables.SetName("bos_token", jinja::Value("<mine>"));
  EXPECT_EQ(*RenderWith(kAll, input),
            R"([{"z": 1, "a": [2.0, "é"]}] [{"text": "rain"}] False <mine>)");
}

}  // namespace
}  // namespace tidal
