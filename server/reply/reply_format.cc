#include "server/reply/reply_format.h"

#include <utility>

namespace tidal {
namespace {

CallFormat JsonCalls(std::string name, std::vector<std::string> opens,
                     std::vector<std::string> closes) {
  CallFormat format{.name = std::move(name), .syntax = CallSyntax::kJson};
  format.opens = std::move(opens);
  format.closes = std::move(closes);
  return format;
}

CallFormat Hermes(std::string name) {
  return JsonCalls(std::move(name), {"<tool_call>"}, {"</tool_call>"});
}

CallFormat Llama3() {
  CallFormat format = JsonCalls("llama3_json", {"<|python_tag|>"}, {});
  format.bare = '{';
  return format;
}

CallFormat Granite() {  // 3.0 has the first marker, 3.1 the second one
  CallFormat format = JsonCalls("granite", {"<|tool_call|>", "<tool_call>"}, {"</tool_call>"});
  format.bare = '[';
  format.array = true;
  return format;
}

CallFormat Phi4Mini() {
  CallFormat format = JsonCalls("phi4_mini_json", {"functools"}, {});
  format.array = format.array_only = true;
  return format;
}

CallFormat Python(std::string name, std::vector<std::string> opens,
                  std::vector<std::string> closes) {
  CallFormat format = JsonCalls(std::move(name), std::move(opens), std::move(closes));
  format.syntax = CallSyntax::kPython;
  format.bare = '[';
  return format;
}

CallFormat Mistral() {  // an array before tokenizers of version 11, names since
  CallFormat format = JsonCalls("mistral", {"[TOOL_CALLS]"}, {});
  format.syntax = CallSyntax::kNamed;
  format.ids = CallIds::kRandom9;
  format.call_begin = "[TOOL_CALLS]";
  format.id_begin = "[CALL_ID]";
  format.name_ends = {"[ARGS]"};
  format.object_ends_name = format.or_json_array = true;
  return format;
}

CallFormat DeepSeek(std::string name) {
  const std::string begin = "<｜tool▁call▁begin｜>", sep = "<｜tool▁sep｜>";
  CallFormat format =
      JsonCalls(std::move(name), {"<｜tool▁calls▁begin｜>", begin}, {"<｜tool▁calls▁end｜>"});
  format.syntax = CallSyntax::kNamed;
  format.call_begin = begin;
  format.call_end = "<｜tool▁call▁end｜>";
  format.name_ends = {sep};
  return format;
}

CallFormat DeepSeekV3() {
  CallFormat format = DeepSeek("deepseek_v3");
  format.type_end = format.name_ends.front();
  format.name_ends = {"\n"};
  format.fenced = true;
  return format;
}

CallFormat Kimi() {
  CallFormat format = JsonCalls(
      "kimi_k2",
      {"<|tool_calls_section_begin|>", "<|tool_call_section_begin|>", "<|tool_call_begin|>"},
      {"<|tool_calls_section_end|>", "<|tool_call_section_end|>"});
  format.syntax = CallSyntax::kNamed;
  format.ids = CallIds::kWritten;
  format.call_begin = "<|tool_call_begin|>";
  format.call_end = "<|tool_call_end|>";
  format.name_ends = {"<|tool_call_argument_begin|>"};
  return format;
}

CallFormat QwenCoder(std::string name) {  // its models often forget the outer tag
  CallFormat format = JsonCalls(std::move(name), {"<tool_call>", "<function="}, {"</tool_call>"});
  format.syntax = CallSyntax::kTagged;
  format.name_begin = "<function=";
  format.name_end = ">";
  format.key_begin = "<parameter=";
  format.key_end = ">";
  format.value_end = "</parameter>";
  format.call_end = "</function>";
  return format;
}

CallFormat Glm(std::string name) {
  CallFormat format = JsonCalls(std::move(name), {"<tool_call>"}, {});
  format.syntax = CallSyntax::kTagged;
  format.key_begin = "<arg_key>";
  format.key_end = "</arg_key>";
  format.value_begin = "<arg_value>";
  format.value_end = "</arg_value>";
  format.call_end = "</tool_call>";
  return format;
}

ReasoningFormat Think(std::string name) {
  return {.name = std::move(name), .markers = {{"<think>", "</think>"}}};
}

ReasoningFormat DeepSeekR1() {
  ReasoningFormat format = Think("deepseek_r1");
  format.starts_open = true;
  return format;
}

ReasoningFormat MistralReasoning() {
  ReasoningFormat format = Think("mistral");
  format.markers.push_back({"[THINK]", "[/THINK]"});
  return format;
}

ReasoningFormat GraniteReasoning() {
  const std::string thoughts = " my thought process:", response = " my response:";
  return {.name = "granite",
          .markers = {{"Here is" + thoughts, "Here is" + response},
                      {"Here's" + thoughts, "Here's" + response}}};
}

ReasoningFormat KimiReasoning() {
  ReasoningFormat format = Think("kimi_k2");
  format.ends_at_calls = true;
  return format;
}

template <typename Format>
const Format* Find(const std::vector<Format>& formats, std::string_view name) {
  for (const Format& format : formats) {
    if (format.name == name) return &format;
  }
  return nullptr;
}

}  // namespace

const std::vector<CallFormat>& CallFormats() {
  static const auto* const formats = new std::vector<CallFormat>{
      Hermes("hermes"),
      Hermes("qwen3_json"),
      Llama3(),
      Python("pythonic", {}, {}),
      Python("llama4_pythonic", {"<|python_start|>"}, {"<|python_end|>"}),
      Mistral(),
      QwenCoder("qwen3_coder"),
      QwenCoder("qwen3_xml"),
      DeepSeekV3(),
      DeepSeek("deepseek_v31"),
      Glm("glm45"),
      Glm("glm47"),
      Granite(),
      Hermes("granite4"),
      Phi4Mini(),
      Kimi()};
  return *formats;
}

const std::vector<ReasoningFormat>& ReasoningFormats() {
  static const auto* const formats = new std::vector<ReasoningFormat>{
      Think("qwen3"), DeepSeekR1(),       Think("deepseek_v3"), MistralReasoning(),
      Think("glm45"), GraniteReasoning(), KimiReasoning()};
  return *formats;
}

const CallFormat* FindCallFormat(std::string_view name) { return Find(CallFormats(), name); }

const ReasoningFormat* FindReasoningFormat(std::string_view name) {
  return Find(ReasoningFormats(), name);
}

std::vector<std::string> MarkersOf(const CallFormat& format) {
  std::vector<std::string> markers = format.opens;
  markers.insert(markers.end(), format.closes.begin(), format.closes.end());
  markers.insert(markers.end(), format.name_ends.begin(), format.name_ends.end());
  for (const std::string* marker :
       {&format.call_begin, &format.type_end, &format.id_begin, &format.call_end,
        &format.name_begin, &format.name_end, &format.key_begin, &format.key_end,
        &format.value_begin, &format.value_end}) {
    if (!marker->empty()) markers.push_back(*marker);
  }
  return markers;
}

}  // namespace tidal
