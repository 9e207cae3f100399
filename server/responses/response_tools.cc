#include "server/responses/response_tools.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "nlohmann/json.hpp"
#include "server/openai/raw_json.h"

namespace tidal {
namespace {

using Json = nlohmann::ordered_json;

// Adds the tools of one array.
class ToolReader {
 public:
  ToolReader(v1::Chat& chat, ClientTools& tools, LeftOut& left_out)
      : chat_(chat), tools_(tools), left_out_(left_out) {}

  // `text` is what `array` was parsed from, `name` its name in `fields`, whose names begin with
  // `path`.
  void ReadArray(JsonFields& fields, const nlohmann::json& array, absl::string_view text,
                 absl::string_view path, const std::string& name_space) {
    const std::vector<absl::string_view> texts = RawElements(text);
    TIDAL_CHECK(texts.size() == array.size());
    for (size_t i = 0; i < array.size(); ++i) {
      const std::string name = absl::StrCat("tools[", i, "]");
      if (!array[i].is_object()) return fields.Fail(name, "an object", array[i]);
      const std::string tool_path = absl::StrCat(path, name, ".");
      JsonFields tool(array[i], tool_path);
      ReadTool(tool, texts[i], tool_path, name_space);
      fields.Adopt(tool.status());
    }
  }

 private:
  void ReadTool(JsonFields& tool, absl::string_view text, const std::string& path,
                const std::string& name_space) {
    const auto type = tool.String("type");
    if (!type) return tool.Fail("type", "must be given");
    const bool named = *type == "function" || *type == "custom" || *type == "namespace";
    if (!named || (*type == "namespace" && !name_space.empty())) {
      return left_out_.Add(PathOf(path), *type);
    }
    const auto name = tool.String("name");
    if (!name || name->empty()) return tool.Fail("name", "must be given");
    if (*type == "namespace") {
      const nlohmann::json* members = tool.Array("tools");
      if (members == nullptr) return tool.Fail("tools", "must be given");
      return ReadArray(tool, *members, RawMember(text, "tools"), path, *name);
    }
    const bool custom = *type == "custom";
    const std::string model_name = ModelToolName(name_space, *name);
    const std::string chat_tool =
        custom ? CustomTool(tool, model_name, path) : FunctionTool(tool, text, model_name);
    if (!tool.status().ok()) return;
    const ClientTool known = {name_space, *name, custom, PathOf(path), chat_.tools_size()};
    if (!tools_.emplace(model_name, known).second) {
      return tool.Fail("name", absl::StrCat("must be another than of the tools before, got \"",
                                            model_name.substr(0, 64), "\""));
    }
    chat_.add_tools(chat_tool);
  }

  // Of what names begin with it and a dot.
  static std::string PathOf(const std::string& prefix) {
    return prefix.substr(0, prefix.size() - 1);
  }

  // In the client's own words: templates print them, in the order of their keys.
  static std::string FunctionTool(JsonFields& tool, absl::string_view text,
                                  const std::string& model_name) {
    tool.String("description");
    tool.Object("parameters");
    std::string function = absl::StrCat("{\"name\": ", Json(model_name).dump());
    for (const char* member : {"description", "parameters"}) {
      if (tool.Find(member) == nullptr) continue;
      absl::StrAppend(&function, ", \"", member, "\": ", RawMember(text, member));
    }
    if (tool.Bool("strict").value_or(false)) absl::StrAppend(&function, ", \"strict\": true");
    return absl::StrCat("{\"type\": \"function\", \"function\": ", function, "}}");
  }

  // Nothing makes the input follow the grammar, so the model is told what it is.
  std::string CustomTool(JsonFields& tool, const std::string& model_name, const std::string& path) {
    std::string description = tool.String("description").value_or("");
    if (const nlohmann::json* object = tool.Object("format"); object != nullptr) {
      JsonFields format(*object, path + "format.");
      if (format.String("type").value_or("text") == "grammar") {
        absl::StrAppend(&description, description.empty() ? "" : "\n\n", "The ", kCustomInput,
                        " must follow this ", format.String("syntax").value_or("lark"),
                        " grammar:\n", format.String("definition").value_or(""));
        left_out_.Add(path + "format", "grammar");
      }
      tool.Adopt(format.status());
    }
    static const Json* const kParameters = new Json(
        {{"type", "object"},
         {"properties",
          {{kCustomInput, {{"type", "string"}, {"description", "Free text, the whole input."}}}}},
         {"required", {kCustomInput}},
         {"additionalProperties", false}});
    Json function = {{"name", model_name}};
    if (!description.empty()) function["description"] = description;
    function["parameters"] = *kParameters;
    return Json({{"type", "function"}, {"function", std::move(function)}}).dump();
  }

  v1::Chat& chat_;
  ClientTools& tools_;
  LeftOut& left_out_;
};

// The model's name of the tool that a choice names; nothing when it is not offered.
std::optional<std::string> ChosenTool(JsonFields& choice, const ClientTools& tools) {
  const std::string name = choice.String("name").value_or("");
  const auto name_space = choice.String("namespace");
  std::string model_name = ModelToolName(name_space.value_or(""), name);
  if (tools.count(model_name) > 0) return model_name;
  for (const auto& [known, tool] : tools) {  // by its short name
    if (!name_space && tool.name == name) return known;
  }
  return std::nullopt;
}

bool IsCallable(const nlohmann::json* type) {
  return type != nullptr && (*type == "function" || *type == "custom");
}

// {"type": "allowed_tools", "mode", "tools"}
void ReadAllowedTools(JsonFields& choice, const ClientTools& tools, v1::ReplyParsing& parsing,
                      LeftOut& left_out) {
  const auto mode = choice.String("mode");
  if (mode && *mode != "auto" && *mode != "required") {
    return choice.Fail("mode", R"("auto" or "required")", *mode);
  }
  const nlohmann::json* allowed = choice.Array("tools");
  if (allowed == nullptr) return choice.Fail("tools", "must be given");
  v1::ToolChoice& chosen = *parsing.mutable_tool_choice();
  for (size_t i = 0; i < allowed->size(); ++i) {
    const std::string name = absl::StrCat("tools[", i, "]");
    const nlohmann::json& element = (*allowed)[i];
    if (!element.is_object()) return choice.Fail(name, "an object", element);
    JsonFields tool(element, absl::StrCat("tool_choice.", name, "."));
    if (!IsCallable(tool.Find("type"))) {
      left_out.Add("tool_choice." + name, tool.String("type").value_or(""));
    } else if (auto model_name = ChosenTool(tool, tools)) {
      chosen.add_names(*std::move(model_name));
    } else {
      tool.Fail("name", "must be one of the tools");
    }
    choice.Adopt(tool.status());
  }
  chosen.set_required(mode == "required");
  if (!chosen.names().empty()) return;
  // None of them can be called here.
  if (chosen.required()) return choice.Fail("tools", "must have a function or a custom tool");
  parsing.set_tool_calls(false);
  parsing.clear_tool_choice();
}

void ReadChosenTool(JsonFields& choice, const ClientTools& tools, v1::ReplyParsing& parsing,
                    LeftOut& left_out) {
  const nlohmann::json* type = choice.Find("type");
  if (type != nullptr && *type == "allowed_tools") {
    return ReadAllowedTools(choice, tools, parsing, left_out);
  }
  if (!IsCallable(type)) {
    return choice.Fail("type", R"("function", "custom" or "allowed_tools")",
                       type == nullptr ? nlohmann::json() : *type);
  }
  const auto model_name = ChosenTool(choice, tools);
  if (!model_name) return choice.Fail("name", "must be one of the tools");
  parsing.mutable_tool_choice()->set_required(true);
  parsing.mutable_tool_choice()->set_single(true);
  parsing.mutable_tool_choice()->add_names(*model_name);
}

}  // namespace

std::string ModelToolName(absl::string_view name_space, absl::string_view name) {
  if (name_space.empty()) return std::string(name);
  return absl::StrCat(name_space, absl::EndsWith(name_space, "__") ? "" : "__", name);
}

void ReadTools(JsonFields& fields, absl::string_view text, absl::string_view path, v1::Chat& chat,
               ClientTools& tools, LeftOut& left_out) {
  const nlohmann::json* array = fields.Array("tools");
  if (array == nullptr) return;
  ToolReader(chat, tools, left_out)
      .ReadArray(fields, *array, RawMember(text, "tools"), path, /*name_space=*/"");
}

void ReadCallableTools(JsonFields& fields, const ClientTools& tools, v1::ReplyParsing& parsing,
                       LeftOut& left_out) {
  parsing.set_tool_calls(!tools.empty());
  const nlohmann::json* choice = fields.Find("tool_choice");
  if (choice != nullptr && choice->is_object()) {
    JsonFields members(*choice, "tool_choice.");
    ReadChosenTool(members, tools, parsing, left_out);
    fields.Adopt(members.status());
  } else if (choice != nullptr && *choice == "none") {
    parsing.set_tool_calls(false);
  } else if (choice != nullptr && *choice == "required") {
    if (tools.empty()) return fields.Fail("tool_choice", "must not be required without tools");
    parsing.mutable_tool_choice()->set_required(true);
  } else if (choice != nullptr && *choice != "auto") {
    return fields.Fail("tool_choice", R"("auto", "none", "required" or an object)", *choice);
  }
  const bool parallel = fields.Bool("parallel_tool_calls").value_or(true);
  if (!parallel && parsing.tool_calls()) parsing.mutable_tool_choice()->set_single(true);
}

}  // namespace tidal
