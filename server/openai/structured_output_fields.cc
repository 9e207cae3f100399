#include "server/openai/structured_output_fields.h"

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/openai/raw_json.h"

namespace tidal {
namespace {

std::string Copy(absl::string_view text) { return std::string(text); }

// A schema as an object or a boolean, or as text.
void ReadSchema(JsonFields& fields, absl::string_view text, const char* name,
                v1::StructuredOutput& out) {
  const nlohmann::json* schema = fields.Find(name);
  if (schema->is_object() || schema->is_boolean()) {
    out.set_json_schema(Copy(RawMember(text, name)));
  } else if (schema->is_string()) {
    out.set_json_schema(schema->get<std::string>());
  } else {
    fields.Fail(name, "a JSON schema", *schema);
  }
}

void ReadChoices(JsonFields& fields, const char* name, v1::StructuredOutput& out) {
  const nlohmann::json* choices = fields.Array(name);
  if (choices == nullptr) return;
  if (choices->empty()) fields.Fail(name, "must have at least one text");
  for (const nlohmann::json& choice : *choices) {
    if (!choice.is_string()) return fields.Fail(name, "an array of strings", choice);
    out.mutable_choice()->add_texts(choice.get<std::string>());
  }
}

// The form that came before {"type": "structural_tag", "format": ...}: tags and their triggers.
nlohmann::ordered_json LegacyTag(JsonFields& format) {
  nlohmann::ordered_json tags = {{"type", "triggered_tags"},
                                 {"triggers", nlohmann::ordered_json::array()},
                                 {"tags", nlohmann::ordered_json::array()}};
  if (const nlohmann::json* triggers = format.Array("triggers")) tags["triggers"] = *triggers;
  const nlohmann::json* structures = format.Array("structures");
  if (structures == nullptr) {
    format.Fail("format", "must be given");
    return tags;
  }
  for (const nlohmann::json& structure : *structures) {
    if (!structure.is_object()) {
      format.Fail("structures", "an array of objects", structure);
      return tags;
    }
    JsonFields members(structure, "response_format.structures.");
    const std::string begin = members.String("begin").value_or("");
    const std::string end = members.String("end").value_or("");
    format.Adopt(members.status());
    tags["tags"].push_back(
        {{"type", "tag"},
         {"begin", begin},
         {"content",
          {{"type", "json_schema"},
           {"json_schema", structure.value("schema", nlohmann::json::object())}}},
         {"end", end}});
  }
  return tags;
}

void ReadJsonSchemaFormat(JsonFields& format, absl::string_view text, v1::StructuredOutput& out) {
  const nlohmann::json* object = format.Object("json_schema");
  if (object == nullptr) return format.Fail("json_schema", "must be given");
  const absl::string_view inner = RawMember(text, "json_schema");
  JsonFields schema(*object, "response_format.json_schema.");
  out.set_strict(schema.Bool("strict").value_or(false));
  if (schema.Find("schema") != nullptr) {
    ReadSchema(schema, inner, "schema", out);
  } else {
    out.set_json_object(true);
  }
  format.Adopt(schema.status());
}

// One of vLLM's ways to say it; `names` are those of its members.
struct StructureNames {
  const char *json, *regex, *choice, *grammar, *json_object, *structural_tag;
};

// Reads the only one there is. Says how many there are; the name of the first goes behind `field`.
int ReadOneOf(JsonFields& fields, absl::string_view text, const StructureNames& names,
              v1::StructuredOutput& out, std::string& field) {
  int count = 0;
  const auto given = [&](const char* name) {
    if (name == nullptr || fields.Find(name) == nullptr) return false;
    if (++count == 1) field += name;
    return count == 1;
  };
  if (given(names.json)) ReadSchema(fields, text, names.json, out);
  if (given(names.regex)) out.set_regex(fields.String(names.regex).value_or(""));
  if (given(names.choice)) ReadChoices(fields, names.choice, out);
  if (given(names.grammar)) out.set_grammar(fields.String(names.grammar).value_or(""));
  if (names.json_object != nullptr && fields.Bool(names.json_object).value_or(false) &&
      given(names.json_object)) {
    out.set_json_object(true);
  }
  if (given(names.structural_tag)) {
    out.set_structural_tag(fields.String(names.structural_tag).value_or(""));
  }
  return count;
}

constexpr StructureNames kStructuredOutputs = {"json",    "regex",       "choice",
                                               "grammar", "json_object", "structural_tag"};
constexpr StructureNames kGuided = {"guided_json",    "guided_regex", "guided_choice",
                                    "guided_grammar", nullptr,        nullptr};

nlohmann::json TypeOf(const nlohmann::json& object) {
  return object.value("type", nlohmann::json());
}

void AddToolName(JsonFields& fields, const std::string& place, const nlohmann::json& choice,
                 v1::ToolChoice& out) {
  const auto function = choice.find("function");
  const bool named = TypeOf(choice) == "function" && function != choice.end() &&
                     function->is_object() && function->contains("name") &&
                     (*function)["name"].is_string();
  if (!named) {
    return fields.Fail(place, R"({"type": "function", "function": {"name": ...}})", choice);
  }
  out.add_names((*function)["name"].get<std::string>());
}

void ReadAllowedTools(JsonFields& fields, const nlohmann::json& choice, v1::ToolChoice& out) {
  const auto allowed = choice.find("allowed_tools");
  const bool fits = allowed != choice.end() && allowed->is_object() && allowed->contains("tools") &&
                    (*allowed)["tools"].is_array() && !(*allowed)["tools"].empty();
  if (!fits) {
    return fields.Fail("tool_choice.allowed_tools", "must have tools, an array of at least one");
  }
  const auto mode = allowed->value("mode", nlohmann::json("auto"));
  if (mode != "auto" && mode != "required") {
    return fields.Fail("tool_choice.allowed_tools.mode", R"("auto" or "required")", mode);
  }
  out.set_required(mode == "required");
  for (const nlohmann::json& tool : (*allowed)["tools"]) {
    if (!tool.is_object()) return fields.Fail("tool_choice.allowed_tools.tools", "objects", tool);
    AddToolName(fields, "tool_choice.allowed_tools.tools", tool, out);
  }
}

}  // namespace

void ReadResponseFormat(JsonFields& format, absl::string_view text, v1::StructuredOutput& out) {
  const auto type = format.String("type");
  if (!type) return format.Fail("type", "must be given");
  if (*type == "json_object") return out.set_json_object(true);
  if (*type == "json_schema") return ReadJsonSchemaFormat(format, text, out);
  if (*type == "structural_tag") {
    const nlohmann::json* object = format.Object("format");
    out.set_structural_tag(object != nullptr
                               ? Copy(text)
                               : nlohmann::ordered_json({{"format", LegacyTag(format)}}).dump());
    return;
  }
  if (*type != "text") {
    format.Fail("type", R"("text", "json_object", "json_schema" or "structural_tag")", *type);
  }
}

void ReadStructuredOutput(JsonFields& fields, absl::string_view body, v1::GenerateRequest& call,
                          ReplyOptions& reply) {
  v1::StructuredOutput out;
  int count = 0;
  if (const nlohmann::json* object = fields.Object("response_format")) {
    JsonFields format(*object, "response_format.");
    ReadResponseFormat(format, RawMember(body, "response_format"), out);
    fields.Adopt(format.status());
    if (out.kind_case() != v1::StructuredOutput::KIND_NOT_SET) {
      ++count;
      reply.structure_field =
          out.has_json_schema() ? "response_format.json_schema.schema" : "response_format";
    }
  }
  if (const nlohmann::json* object = fields.Object("structured_outputs")) {
    JsonFields structured(*object, "structured_outputs.");
    reply.structure_field = "structured_outputs.";
    const int kinds = ReadOneOf(structured, RawMember(body, "structured_outputs"),
                                kStructuredOutputs, out, reply.structure_field);
    if (kinds != 1) {
      fields.Fail("structured_outputs",
                  "must have exactly one of json, regex, choice, grammar, json_object and "
                  "structural_tag");
    }
    out.set_compact(structured.Bool("disable_any_whitespace").value_or(false));
    fields.Adopt(structured.status());
    count += kinds;
  }
  std::string guided;
  count += ReadOneOf(fields, body, kGuided, out, guided);
  if (!guided.empty()) reply.structure_field = guided;
  if (count > 1) {
    fields.Fail(reply.structure_field,
                "must be the only one of response_format, structured_outputs and guided_*");
  }
  if (count > 0) *call.mutable_structured_output() = std::move(out);
}

void ReadToolChoice(JsonFields& fields, v1::GenerateRequest& call, ReplyOptions& reply) {
  v1::ReplyParsing& parsing = *call.mutable_output()->mutable_parsing();
  v1::ToolChoice out;
  parsing.set_tool_calls(call.chat().tools_size() > 0);
  if (const nlohmann::json* choice = fields.Find("tool_choice")) {
    if (*choice == "none") {
      parsing.set_tool_calls(false);
    } else if (*choice == "required") {
      out.set_required(true);
    } else if (choice->is_object() && TypeOf(*choice) == "allowed_tools") {
      ReadAllowedTools(fields, *choice, out);
    } else if (choice->is_object()) {
      out.set_required(true);
      AddToolName(fields, "tool_choice", *choice, out);
      reply.named_tool = true;
    } else if (*choice != "auto") {
      fields.Fail("tool_choice", R"("none", "auto", "required" or an object)", *choice);
    }
    if (out.required()) parsing.set_tool_calls(true);
  }
  if (fields.Bool("parallel_tool_calls") == false) out.set_single(true);
  if (reply.named_tool) out.set_single(true);
  if (parsing.tool_calls()) *parsing.mutable_tool_choice() = std::move(out);
}

}  // namespace tidal
