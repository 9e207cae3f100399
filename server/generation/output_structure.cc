#include "server/generation/output_structure.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "server/generation/field_error.h"
#include "server/grammar/schema_check.h"
#include "server/grammar/structure.h"

namespace tidal {
namespace {

using Json = nlohmann::ordered_json;

// Bytes of other languages' letters, too; nothing that a format could take for its own.
bool IsNameByte(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || (c & 0x80) != 0 ||
         absl::string_view("_-.:/").find(c) != absl::string_view::npos;
}

std::string FieldOfTool(int index) { return absl::StrCat("chat.tools[", index, "].function"); }

// `constrained`: calls may have to be made, so that the schema counts also where the tool does not
// ask for that. A schema that only then is found bad leaves the arguments free.
absl::StatusOr<CallableTool> ReadTool(const std::string& text, int index, bool constrained) {
  CallableTool tool;
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const Json& function = json.at("function");  // CheckTools()
  tool.name = function.at("name").get<std::string>();
  const auto strict = function.find("strict");
  tool.strict = strict != function.end() && *strict == true;
  tool.parameters = AnyObjectSchema();
  const auto parameters = function.find("parameters");
  if (parameters == function.end() || parameters->is_null()) return tool;
  if (!tool.strict && !constrained) return tool;
  const std::string field = FieldOfTool(index) + ".parameters";
  const std::string schema = parameters->dump(-1, ' ', false, Json::error_handler_t::replace);
  absl::StatusOr<Json> prepared = ParseBoundedJson(field, schema);
  if (prepared.ok()) prepared = PrepareSchema(field, *std::move(prepared), tool.strict);
  if (!prepared.ok()) return tool.strict ? absl::StatusOr<CallableTool>(prepared.status()) : tool;
  tool.parameters = *std::move(prepared);
  return tool;
}

absl::Status AddTools(const v1::GenerateRequest& request, const v1::ToolChoice& choice,
                      bool constrained, StructureParts* parts) {
  const auto& names = choice.names();
  for (int i = 0; i < request.chat().tools_size(); ++i) {
    TIDAL_ASSIGN_OR_RETURN(CallableTool tool, ReadTool(request.chat().tools(i), i, constrained));
    const bool wanted =
        names.empty() || std::find(names.begin(), names.end(), tool.name) != names.end();
    if (wanted) parts->tools.push_back(std::move(tool));
  }
  for (int i = 0; i < names.size(); ++i) {
    const bool known = std::any_of(parts->tools.begin(), parts->tools.end(),
                                   [&](const CallableTool& t) { return t.name == names[i]; });
    if (!known) {
      return InvalidField(absl::StrCat("output.parsing.tool_choice.names[", i, "]"),
                          "be the name of one of the tools", names[i]);
    }
  }
  return absl::OkStatus();
}

absl::Status AddCalls(const v1::GenerateRequest& request, const ReplyParsing& parsing,
                      StructureParts* parts) {
  const v1::ReplyParsing& in = request.output().parsing();
  if (!in.tool_calls()) return absl::OkStatus();
  const v1::ToolChoice& choice = in.tool_choice();
  const bool constrained = choice.required() || !choice.names().empty() || choice.single();
  if (choice.required() && request.chat().tools().empty()) {
    return InvalidField("output.parsing.tool_choice", "not be required without tools", "no tools");
  }
  if (parsing.calls == nullptr) return absl::OkStatus();
  parts->calls = parsing.calls;
  parts->calls_required = choice.required();
  parts->single_call = choice.single();
  return AddTools(request, choice, constrained || request.has_structured_output(), parts);
}

absl::Status AddReasoning(const v1::GenerateRequest& request, const ReplyParsing& parsing,
                          StructureParts* parts) {
  const v1::ReplyParsing& in = request.output().parsing();
  parts->reasoning = parsing.reasoning;
  parts->starts_in_reasoning = parsing.starts_in_reasoning;
  if (!in.has_thinking_token_budget()) return absl::OkStatus();
  if (parsing.reasoning == nullptr) {
    if (in.fit_thinking_token_budget()) return absl::OkStatus();
    return InvalidField("output.parsing.thinking_token_budget",
                        "be absent: how this model writes reasoning is not known "
                        "(--reasoning_parser)",
                        in.thinking_token_budget());
  }
  if (in.thinking_token_budget() > std::numeric_limits<int32_t>::max()) {
    return InvalidField("output.parsing.thinking_token_budget", "be below 2^31",
                        in.thinking_token_budget());
  }
  parts->reasoning_budget = static_cast<int32_t>(in.thinking_token_budget());
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckTools(const v1::Chat& chat) {
  if (chat.tools_size() > kMaxTools) {
    return InvalidField("chat.tools", absl::StrCat("have at most ", kMaxTools, " tools"),
                        chat.tools_size());
  }
  for (int i = 0; i < chat.tools_size(); ++i) {
    const auto tool = Json::parse(chat.tools(i), nullptr, /*allow_exceptions=*/false);
    // The template's own reader says what is wrong with other objects.
    if (!tool.is_object() || !tool.contains("function") || !tool["function"].is_object()) continue;
    const auto name = tool["function"].find("name");
    if (name == tool["function"].end() || !name->is_string()) continue;
    const std::string& text = name->get_ref<const std::string&>();
    const bool fits = !text.empty() && text.size() <= kMaxToolNameBytes &&
                      std::all_of(text.begin(), text.end(), IsNameByte);
    if (fits) continue;
    return InvalidField(
        FieldOfTool(i) + ".name",
        absl::StrCat("be 1 to ", kMaxToolNameBytes, " bytes of letters, digits and _-.:/"),
        absl::StrCat("\"", text.substr(0, 64), "\""));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<std::string>> OutputStructure(const v1::GenerateRequest& request,
                                                           const ReplyParsing& parsing,
                                                           const ServedModel& model) {
  StructureParts parts;
  parts.special = parsing.special;
  parts.tokenizer = model.tokenizer.get();
  parts.stop_tokens = model.eos_token_ids;
  if (request.has_structured_output()) {
    TIDAL_ASSIGN_OR_RETURN(parts.answer, AnswerFormat(request.structured_output()));
  }
  TIDAL_RETURN_IF_ERROR(AddCalls(request, parsing, &parts));
  TIDAL_RETURN_IF_ERROR(AddReasoning(request, parsing, &parts));
  std::optional<std::string> structure = StructureOf(parts);
  if (structure.has_value() && structure->size() > kMaxStructureBytes) {
    return InvalidField("structured_output",
                        absl::StrCat("come to at most ", kMaxStructureBytes,
                                     " bytes with the tools that may be called"),
                        structure->size());
  }
  return structure;
}

}  // namespace tidal
