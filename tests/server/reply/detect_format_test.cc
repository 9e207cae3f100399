#include "server/reply/detect_format.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "server/reply/reply_parser.h"
#include "tests/server/reply/reply_test_util.h"

namespace tidal {
namespace {

// Short templates with the markers of the families, and what they share.
struct TemplateCase {
  std::string call;  // how the template writes the call `c` of a message
  std::string around = {}, calls = {}, reasoning = {};
};

constexpr char kJsonCall[] =
    "{\"name\": \"{{ c.name }}\", \"arguments\": {{ c.arguments | tojson }}}";

std::string Template(const TemplateCase& c) {
  return "{% for m in messages %}{{ m.role }}: {{ m.content or '' }}"
         "{% for t in m.tool_calls or [] %}{% set c = t.function %}" +
         c.call + "{% endfor %}\n{% endfor %}" + c.around;
}

DetectedFormat Detect(const std::string& source) {
  const auto compiled = ChatTemplate::Compile(source, "<s>", "</s>");
  EXPECT_TRUE(compiled.ok()) << compiled.status();
  return DetectReplyFormat(**compiled);
}

TEST(DetectFormatTest, Families) {
  const std::string json = kJsonCall;
  const std::string arguments = "{{ c.arguments | tojson }}";
  const std::string pairs = "{% for k, v in c.arguments.items() %}";
  for (const TemplateCase& c : std::vector<TemplateCase>{
           {"<tool_call>\n" + json + "\n</tool_call>", "", "hermes", ""},
           {"<tool_call>\n" + json + "\n</tool_call>", "{{ '<think>\\n' }}", "hermes", "qwen3"},
           {"<tool_call>\n" + json + "\n</tool_call>", "{{ '<|start_of_role|>' }}", "granite4", ""},
           {"<|tool_call|>[" + json + "]",
            "{{ '<|start_of_role|>' }}{{ 'Here is my thought process: ' }}", "granite", "granite"},
           {"[TOOL_CALLS][" + json + "]", "", "mistral", ""},
           {"[TOOL_CALLS]{{ c.name }}[ARGS]" + arguments, "{{ '[THINK]' }}", "mistral", "mistral"},
           {"{\"name\": \"{{ c.name }}\", \"parameters\": " + arguments + "}", "", "llama3_json",
            ""},
           {"<|python_tag|>" + json, "", "llama3_json", ""},
           {"[{{ c.name }}(" + pairs + "{{ k }}='{{ v }}'{% endfor %})]", "", "pythonic", ""},
           {"<|python_start|>[{{ c.name }}()]<|python_end|>", "", "llama4_pythonic", ""},
           {"<tool_call><function={{ c.name }}>" + pairs +
                "<parameter={{ k }}>\n{{ v }}\n</parameter>{% endfor %}"
                "</function></tool_call>",
            "{{ '</think>' }}", "qwen3_coder", "qwen3"},
           {"<tool_call>{{ c.name }}" + pairs +
                "<arg_key>{{ k }}</arg_key><arg_value>{{ v }}</arg_value>{% endfor %}"
                "</tool_call>",
            "{{ '<think></think>' }}", "glm45", "glm45"},
           {"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>{{ c.name "
            "}}\n```json\n" +
                arguments + "\n```<｜tool▁call▁end｜>",
            "{{ '<｜Assistant｜><think>' }}", "deepseek_v3", "deepseek_r1"},
           {"<｜tool▁call▁begin｜>{{ c.name }}<｜tool▁sep｜>" + arguments + "<｜tool▁call▁end｜>",
            "{{ '<｜Assistant｜></think>' }}", "deepseek_v31", "deepseek_v3"},
           {"<|tool_call_begin|>functions.{{ c.name }}:0<|tool_call_argument_begin|>" + arguments,
            "{{ '<think></think>' }}", "kimi_k2", "kimi_k2"},
           {"functools[" + json + "]", "", "phi4_mini_json", ""},
           {"", "", "", ""},
           // Arguments that the template adds to a string.
           {"{{ '[TOOL_CALLS]' + c.name + '[ARGS]' + c.arguments }}", "", "mistral", ""},
           // Without a call in the rendering, the template's own words.
           {"", "{% if false %}<tool_call>{% endif %}", "hermes", ""},
           {"{{ raise_exception('no tools') }}", "{% if false %}[TOOL_CALLS]{% endif %}", "mistral",
            ""},
       }) {
    const DetectedFormat found = Detect(Template(c));
    EXPECT_EQ(found.calls == nullptr ? "" : found.calls->name, c.calls) << c.call;
    EXPECT_EQ(found.reasoning == nullptr ? "" : found.reasoning->name, c.reasoning) << c.call;
    EXPECT_EQ(found.reason.find("not read back"), std::string::npos) << found.reason;
  }
}

// The family found reads what the template wrote.
TEST(DetectFormatTest, ReadsTheProbe) {
  const std::string source = Template({std::string("<tool_call>") + kJsonCall + "</tool_call>"});
  const auto compiled = ChatTemplate::Compile(source, "", "");
  ASSERT_TRUE(compiled.ok());
  const absl::StatusOr<std::string> probe = (*compiled)->Render(ProbeConversation());
  ASSERT_TRUE(probe.ok());
  const std::string description = ParseCut({"hermes"}, *probe);
  EXPECT_NE(description.find(")probe_tool{\"probe_key\": \"probe_value\"}.text("),
            std::string::npos)
      << description;
}

TEST(DetectFormatTest, Reason) {
  EXPECT_EQ(DetectReplyFormat("", "x").reason,
            "tool calls: no known marker; reasoning: no known marker");
  EXPECT_EQ(
      DetectReplyFormat("", "<tool_call> <think>").reason,
      "tool calls hermes: the template has <tool_call>; reasoning qwen3: the template has <think>");
  EXPECT_EQ(DetectReplyFormat("[TOOL_CALLS]f{\"a\": \"probe_value\"}", "").reason,
            "tool calls mistral: a rendered call has [TOOL_CALLS]; reasoning: no known marker");
  EXPECT_EQ(DetectReplyFormat("[TOOL_CALLS] probe_value", "").reason,
            "tool calls mistral: by a rendered call, which was not read back, with [TOOL_CALLS]; "
            "reasoning: no known marker");
  // Instructions with the markers of another family do not count.
  EXPECT_EQ(
      DetectReplyFormat("no <function= or <parameter= here: "
                        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"probe_value\"}}",
                        "")
          .calls->name,
      "hermes");
}

TEST(DetectFormatTest, SpecialMarkers) {
  const auto tokenizer = Tokenizer::FromJson(R"({
    "added_tokens": [{"id": 2, "content": "<think>", "special": true},
                     {"id": 3, "content": "</think>", "special": false},
                     {"id": 4, "content": "</tool_call>", "special": true}],
    "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
    "post_processor": null, "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}})");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const CallFormat* hermes = FindCallFormat("hermes");
  const ReasoningFormat* qwen = FindReasoningFormat("qwen3");
  EXPECT_EQ(FindSpecialMarkers(**tokenizer, hermes, qwen),
            (SpecialMarkers{"</tool_call>", "<think>"}));
  EXPECT_EQ(FindSpecialMarkers(**tokenizer, nullptr, nullptr), SpecialMarkers());
}

TEST(DetectFormatTest, PromptEndsInReasoning) {
  const ReasoningFormat& qwen = *FindReasoningFormat("qwen3");
  EXPECT_TRUE(PromptEndsInReasoning("user: a\nassistant: <think>\n", qwen));
  EXPECT_TRUE(PromptEndsInReasoning("<think>", qwen));
  EXPECT_FALSE(PromptEndsInReasoning("assistant: <think>\n\n</think>\n\n", qwen));
  EXPECT_FALSE(PromptEndsInReasoning("user: say <think>\nassistant:", qwen));
  EXPECT_FALSE(PromptEndsInReasoning("", qwen));
  EXPECT_TRUE(PromptEndsInReasoning("a[THINK]", *FindReasoningFormat("mistral")));
}

}  // namespace
}  // namespace tidal
