// Which of a folder's templates is used.
#include "server/text/chat_template_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "server/text/chat_template.h"
#include "server/text/jinja/json_value.h"

namespace tidal {
namespace {

// A folder that goes with the test.
class ChatTemplateFilesTest : public ::testing::Test {
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
  absl::StatusOr<std::string> LoadAndRender(const std::string& replacement = "",
                                            bool with_tools = false) {
    auto loaded = ChatTemplate::Load(folder_.string(), replacement);
    if (!loaded.ok()) return loaded.status();
    ChatTemplateInput input = {.messages = {{"user", {"Hi"}}}};
    if (with_tools) input.tools = {*jinja::ParseJson("{}")};
    return (*loaded)->Render(input);
  }

  std::filesystem::path folder_;
};

TEST_F(ChatTemplateFilesTest, NothingThere) {
  EXPECT_TRUE(absl::IsNotFound(LoadAndRender().status()));
  Write("tokenizer_config.json", "{}");
  EXPECT_TRUE(absl::IsNotFound(LoadAndRender().status()));
}

TEST_F(ChatTemplateFilesTest, SpecialTokensAsStringsOrObjects) {
  Write("tokenizer_config.json", R"({"bos_token": "<b>", "eos_token": {"content": "<e>"},
      "pad_token": "<p>", "unk_token": null,
      "chat_template": "{{ bos_token + eos_token + pad_token }}{{ unk_token }}"})");
  EXPECT_EQ(*LoadAndRender(), "<b><e><p>");
}

TEST_F(ChatTemplateFilesTest, NamedTemplates) {
  Write("tokenizer_config.json", R"({"chat_template": [
      {"name": "tool_use", "template": "tools"}, {"name": "rag", "template": "{% broken"},
      {"name": "default", "template": "plain"}]})");
  EXPECT_EQ(*LoadAndRender(), "plain");
  EXPECT_EQ(*LoadAndRender("", /*with_tools=*/true), "tools");
  Write("tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "no"}]})");
  EXPECT_TRUE(absl::IsInvalidArgument(LoadAndRender().status()));
}

TEST_F(ChatTemplateFilesTest, FilesComeBeforeTheConfiguration) {
  Write("chat_template.json", R"({"chat_template": "json"})");
  EXPECT_EQ(*LoadAndRender(), "json");
  Write("tokenizer_config.json", R"({"chat_template": "config"})");
  EXPECT_EQ(*LoadAndRender(), "config");
  std::filesystem::create_directories(folder_ / "additional_chat_templates");
  Write("additional_chat_templates/tool_use.jinja", "tools");
  EXPECT_EQ(*LoadAndRender("", /*with_tools=*/true), "config");
  Write("chat_template.jinja", "file");
  EXPECT_EQ(*LoadAndRender(), "file");
  EXPECT_EQ(*LoadAndRender("", /*with_tools=*/true), "tools");
}

TEST_F(ChatTemplateFilesTest, AReplacementIsAFileOrAText) {
  Write("tokenizer_config.json", R"({"bos_token": "<b>", "chat_template": "config"})");
  Write("mine.jinja", "mine {{ bos_token }}");
  const std::string path = (folder_ / "mine.jinja").string();
  EXPECT_EQ(*LoadAndRender(path), "mine <b>");
  EXPECT_EQ(*LoadAndRender("{{ bos_token }}!", /*with_tools=*/true), "<b>!");
  EXPECT_EQ(*LoadAndRender(std::string(10'000, 'x') + "{{ bos_token }}"),
            std::string(10'000, 'x') + "<b>");
  EXPECT_EQ(std::string(LoadAndRender("nowhere.jinja").status().message()),
            "chat_template: must be a file or the text of a template, got nowhere.jinja");
  EXPECT_EQ(std::string(LoadAndRender("{% if %}").status().message()),
            "chat_template: line 1, column 7: unexpected end of the tag");
  Write("mine.jinja", "\n{{ 1 | nope }}");
  EXPECT_EQ(std::string(LoadAndRender(path).status().message()),
            path + ": line 2, column 8: No filter named 'nope'.");
}

TEST_F(ChatTemplateFilesTest, TokensThatAreNotNamedAreUndefined) {
  Write("tokenizer_config.json", R"({"bos_token": null, "chat_template":
      "{{ bos_token is defined }} {{ eos_token is defined }}"})");
  EXPECT_EQ(*LoadAndRender(), "False False");
}

TEST_F(ChatTemplateFilesTest, TemplateFile) {
  Write("chat_template.jinja", "file {{ messages | length }}\n");
  EXPECT_EQ(*LoadAndRender(), "file 1");
  Write("tokenizer_config.json", R"({"bos_token": "<b>"})");
  Write("chat_template.jinja", "{{ bos_token }}");
  EXPECT_EQ(*LoadAndRender(), "<b>");
}

TEST_F(ChatTemplateFilesTest, BrokenFiles) {
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
