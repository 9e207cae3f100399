#include "server/anthropic/tools.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "nlohmann/json.hpp"
#include "server/openai/raw_json.h"

namespace tidal {
namespace {

// `text`: of the tool, as the client wrote it; templates print the schema.
void ReadTool(JsonFields& tool, absl::string_view text, v1::Chat& chat) {
  const auto name = tool.String("name");
  if (!name || name->empty()) return tool.Fail("name", "must be given");
  const nlohmann::json* schema = tool.Object("input_schema");
  if (schema == nullptr) return tool.Fail("input_schema", "must be given");
  std::string out =
      absl::StrCat(R"({"type":"function","function":{"name":)", nlohmann::json(*name).dump());
  if (tool.String("description")) {
    absl::StrAppend(&out, R"(,"description":)", RawMember(text, "description"));
  }
  absl::StrAppend(&out, R"(,"parameters":)", RawMember(text, "input_schema"));
  if (tool.Bool("strict").value_or(false)) out += R"(,"strict":true)";
  chat.add_tools(out + "}}");
}

bool IsOffered(const v1::Chat& chat, const std::string& name) {
  return std::any_of(chat.tools().begin(), chat.tools().end(), [&](const std::string& text) {
    return nlohmann::json::parse(text)["function"]["name"] == name;
  });
}

}  // namespace

void ReadTools(JsonFields& fields, absl::string_view body, v1::Chat& chat, LeftOut& left_out) {
  const nlohmann::json* tools = fields.Array("tools");
  if (tools == nullptr) return;
  const std::vector<absl::string_view> texts = RawElements(RawMember(body, "tools"));
  TIDAL_CHECK(texts.size() == tools->size());
  for (size_t i = 0; i < tools->size(); ++i) {
    const std::string name = absl::StrCat("tools[", i, "]");
    if (!(*tools)[i].is_object()) return fields.Fail(name, "an object", (*tools)[i]);
    JsonFields tool((*tools)[i], name + ".");
    const std::string type = tool.String("type").value_or("custom");
    if (type == "custom") {
      ReadTool(tool, texts[i], chat);
    } else {
      left_out.Add(name, type);
    }
    fields.Adopt(tool.status());
  }
}

void ReadToolChoice(JsonFields& fields, const v1::Chat& chat, v1::ReplyParsing& parsing) {
  const bool has_tools = !chat.tools().empty();
  parsing.set_tool_calls(has_tools);
  const nlohmann::json* object = fields.Object("tool_choice");
  if (object == nullptr) return;
  JsonFields choice(*object, "tool_choice.");
  const std::string type = choice.String("type").value_or("");
  const bool forced = type == "any" || type == "tool";
  if (forced && !has_tools) {
    choice.Fail("type", R"("auto" or "none" without tools that the model can be given)", type);
  } else if (type == "none") {
    parsing.set_tool_calls(false);
  } else if (!forced && type != "auto") {
    choice.Fail("type", R"("auto", "any", "tool" or "none")", type);
  }
  if (forced) parsing.mutable_tool_choice()->set_required(true);
  if (type == "tool") {
    const auto name = choice.String("name");
    if (!name) {
      choice.Fail("name", "must be given");
    } else if (!IsOffered(chat, *name)) {
      choice.Fail("name", "the name of one of the tools", *name);
    } else {
      parsing.mutable_tool_choice()->add_names(*name);
    }
  }
  const bool single = choice.Bool("disable_parallel_tool_use").value_or(false);
  if (single && parsing.tool_calls()) parsing.mutable_tool_choice()->set_single(true);
  fields.Adopt(choice.status());
}

}  // namespace tidal
