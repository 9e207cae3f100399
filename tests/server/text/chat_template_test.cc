#include "server/text/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

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

// A folder that goes with the test.
class ChatTemplateFolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("tidal_chat_template_" +
               std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
  }
  absl::StatusOr<std::string> LoadAndRender() {
    auto loaded = ChatTemplate::Load(folder_.string());
    if (!loaded.ok()) return loaded.status();
    return (*loaded)->Render({.messages = {{"user", "Hi", ""}}});
  }

  std::filesystem::path folder_;
};

TEST(ChatTemplateTest, TidalNano) {
  auto loaded = ChatTemplate::Load("models/tidal-nano");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ChatTemplateInput input;
  input.messages = {{"system", "Be brief.", ""}, {"user", " Hello!\n", ""}};
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
  input.messages = {{"user", "Count", ""}, {"assistant", "One, two", ""}};
  input.continue_final_message = true;
  EXPECT_EQ(*RenderWith(kChatMl, input), "<|user|>Count<|end|>\n<|assistant|>One, two");
  input.messages.back().content = "One, two  ";  // which this template trims
  EXPECT_EQ(*RenderWith(kChatMl, input), "<|user|>Count<|end|>\n<|assistant|>One, two");
  const char untrimmed[] = "{% for m in messages %}[{{ m.content }}]{% endfor %}";
  EXPECT_EQ(*RenderWith(untrimmed, input), "[Count][One, two  ");
  input.messages.back().content = "";
  EXPECT_EQ(*RenderWith(untrimmed, input), "[Count][");
  EXPECT_TRUE(absl::IsInvalidArgument(RenderWith("{{ messages[0].content }}", input).status()));
  input.messages.clear();
  EXPECT_TRUE(absl::IsInvalidArgument(RenderWith(kChatMl, input).status()));
}

TEST(ChatTemplateTest, NamesAreGivenWhenThereAreAny) {
  ChatTemplateInput input;
  input.messages = {{"user", "a", "Ann"}, {"user", "b", ""}};
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
  input.messages = {{"user", "a\xC3", ""}};
  EXPECT_EQ(*RenderWith("{{ messages[0].content }}", input), "a\xEF\xBF\xBD");
}

TEST_F(ChatTemplateFolderTest, NothingThere) {
  EXPECT_TRUE(absl::IsNotFound(LoadAndRender().status()));
  Write("tokenizer_config.json", "{}");
  EXPECT_TRUE(absl::IsNotFound(LoadAndRender().status()));
}

TEST_F(ChatTemplateFolderTest, SpecialTokensAsStringsOrObjects) {
  Write("tokenizer_config.json", R"({"bos_token": "<b>", "eos_token": {"content": "<e>"},
      "pad_token": "<p>", "unk_token": null,
      "chat_template": "{{ bos_token + eos_token + pad_token }}{{ unk_token }}"})");
  EXPECT_EQ(*LoadAndRender(), "<b><e><p>");
}

TEST_F(ChatTemplateFolderTest, NamedTemplates) {
  Write("tokenizer_config.json", R"({"chat_template": [
      {"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]})");
  EXPECT_EQ(*LoadAndRender(), "yes");
  Write("tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "no"}]})");
  EXPECT_TRUE(absl::IsInvalidArgument(LoadAndRender().status()));
}

TEST_F(ChatTemplateFolderTest, TemplateFile) {
  Write("chat_template.jinja", "file {{ messages | length }}\n");
  EXPECT_EQ(*LoadAndRender(), "file 1");
  Write("tokenizer_config.json", R"({"bos_token": "<b>"})");
  Write("chat_template.jinja", "{{ bos_token }}");
  EXPECT_EQ(*LoadAndRender(), "<b>");
}

TEST_F(ChatTemplateFolderTest, BrokenFiles) {
  Write("tokenizer_config.json", "{");
  EXPECT_TRUE(absl::IsInvalidArgument(LoadAndRender().status()));
  Write("tokenizer_config.json", R"({"chat_template": 3})");
  EXPECT_TRUE(absl::IsInvalidArgument(LoadAndRender().status()));
  Write("tokenizer_config.json", R"({"chat_template": "{% if %}"})");
  const absl::Status status = LoadAndRender().status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_NE(std::string(status.message()).find("line 1, column 7"), std::string::npos) << status;
}

}  // namespace
}  // namespace tidal
