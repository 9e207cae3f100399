#include "server/openai/function_fields.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/json/json_value.h"
#include "nlohmann/json.hpp"
#include "server/openai/raw_json.h"

namespace tidal {
namespace {

// The array, where it has anything in it.
const nlohmann::json* Functions(JsonFields& fields) {
  const nlohmann::json* functions = fields.Array("functions");
  return functions == nullptr || functions->empty() ? nullptr : functions;
}

}  // namespace

void ReadFunctions(JsonFields& fields, absl::string_view body, v1::Chat& chat) {
  const nlohmann::json* functions = Functions(fields);
  if (functions == nullptr) return;
  if (!chat.tools().empty()) return fields.Fail("functions", "must be absent where tools are");
  for (size_t i = 0; i < functions->size(); ++i) {
    const nlohmann::json& function = (*functions)[i];
    const std::string field = absl::StrCat("functions[", i, "]");
    if (!function.is_object()) return fields.Fail(field, "an object", function);
    JsonFields members(function, field + ".");
    if (!members.String("name")) members.Fail("name", "must be given");
    fields.Adopt(members.status());
  }
  for (const absl::string_view function : RawElements(RawMember(body, "functions"))) {
    chat.add_tools(absl::StrCat(R"({"type": "function", "function": )", function, "}"));
  }
}

void ReadFunctionChoice(JsonFields& fields, v1::GenerateRequest& call, ReplyOptions& reply) {
  const nlohmann::json* choice = fields.Find("function_call");
  const bool any_functions = Functions(fields) != nullptr;
  if (!any_functions) {
    const bool names_one = choice != nullptr && choice->is_object();
    if (names_one) fields.Fail("function_call", "must be absent without functions");
    return;
  }
  v1::ReplyParsing& parsing = *call.mutable_output()->mutable_parsing();
  reply.function_calls = true;
  parsing.mutable_tool_choice()->set_single(true);
  if (choice == nullptr || *choice == "auto") return;
  if (*choice == "none") {
    parsing.set_tool_calls(false);
    parsing.clear_tool_choice();
    return;
  }
  if (!choice->is_object()) {
    return fields.Fail("function_call", R"("none", "auto" or {"name": ...})", *choice);
  }
  JsonFields members(*choice, "function_call.");
  if (auto name = members.String("name")) {
    parsing.set_tool_calls(true);
    parsing.mutable_tool_choice()->set_required(true);
    parsing.mutable_tool_choice()->add_names(*std::move(name));
    reply.named_tool = true;
  } else {
    members.Fail("name", "must be given");
  }
  fields.Adopt(members.status());
}

void FunctionHistory::ReadMessage(JsonFields& message, size_t index, v1::ChatMessage& out) {
  if (out.role() == "function") {
    out.set_role("tool");
    if (out.tool_call_id().empty()) out.set_tool_call_id(last_id_);
  }
  const nlohmann::json* object = message.Object("function_call");
  if (object == nullptr) return;
  if (!out.tool_calls().empty()) {
    return message.Fail("function_call", "must be absent where tool_calls are");
  }
  JsonFields call(*object, absl::StrCat("messages[", index, "].function_call."));
  const auto name = call.String("name");
  const std::string arguments = call.String("arguments").value_or("");
  if (!name) call.Fail("name", "must be given");
  if (!arguments.empty() && !IsJson(arguments)) {
    call.Fail("arguments", "must be valid JSON");
  }
  message.Adopt(call.status());
  last_id_ = absl::StrFormat("call%05d", index);  // nine letters and digits, as Mistral's are
  const nlohmann::ordered_json tool_call = {
      {"id", last_id_},
      {"type", "function"},
      {"function", {{"name", name.value_or("")}, {"arguments", arguments}}}};
  out.add_tool_calls(tool_call.dump());
}

}  // namespace tidal
