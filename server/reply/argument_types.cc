#include "server/reply/argument_types.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/json/json_value.h"

namespace tidal {
namespace {

using Json = nlohmann::json;

// A schema may nest, and refer to itself.
constexpr int kMaxSteps = 16;

JsonTypes TypeNamed(const Json& name) {
  static constexpr std::array<std::pair<std::string_view, JsonTypes>, 7> kTypes = {
      {{"string", JsonTypes::kString},
       {"number", JsonTypes::kNumber},
       {"integer", JsonTypes::kNumber},
       {"boolean", JsonTypes::kBoolean},
       {"null", JsonTypes::kNull},
       {"object", JsonTypes::kObject},
       {"array", JsonTypes::kArray}}};
  if (!name.is_string()) return {};
  for (const auto& [type_name, type] : kTypes) {
    if (type_name == name.get_ref<const std::string&>()) return type;
  }
  return {};
}

JsonTypes TypeOfValue(const Json& value) {
  if (value.is_string()) return JsonTypes::kString;
  if (value.is_number()) return JsonTypes::kNumber;
  if (value.is_boolean()) return JsonTypes::kBoolean;
  if (value.is_null()) return JsonTypes::kNull;
  return value.is_object() ? JsonTypes::kObject : JsonTypes::kArray;
}

// What "#/$defs/Name" names; null for other references.
const Json* Resolve(const Json& root, const Json& reference) {
  if (!reference.is_string()) return nullptr;
  const std::string& text = reference.get_ref<const std::string&>();
  if (!text.starts_with("#/")) return nullptr;
  const Json* at = &root;
  size_t begin = 2;
  while (at != nullptr && begin <= text.size()) {
    const size_t end = std::min(text.find('/', begin), text.size());
    at = FindMember(*at, text.substr(begin, end - begin));
    begin = end + 1;
  }
  return at;
}

// `steps` is what all schemas that are looked at for one argument may take.
JsonTypes TypesIn(const Json& root, const Json& schema, int* steps) {
  JsonTypes types;
  if (!schema.is_object() || --*steps < 0) return types;
  if (const Json* type = FindMember(schema, "type"); type != nullptr) {
    if (!type->is_array()) return TypeNamed(*type);
    for (const Json& name : *type) types.Add(TypeNamed(name));
    return types;
  }
  if (const Json* reference = FindMember(schema, "$ref"); reference != nullptr) {
    const Json* target = Resolve(root, *reference);
    return target == nullptr ? types : TypesIn(root, *target, steps);
  }
  if (const auto value = schema.find("const"); value != schema.end()) return TypeOfValue(*value);
  if (const Json* values = FindMember(schema, "enum"); values != nullptr && values->is_array()) {
    for (const Json& value : *values) types.Add(TypeOfValue(value));
    return types;
  }
  for (const char* key : {"anyOf", "oneOf", "allOf"}) {
    const Json* schemas = FindMember(schema, key);
    if (schemas == nullptr || !schemas->is_array()) continue;
    for (const Json& choice : *schemas) types.Add(TypesIn(root, choice, steps));
    return types;
  }
  if (schema.contains("properties")) return JsonTypes::kObject;
  if (schema.contains("items")) return JsonTypes::kArray;
  return types;
}

}  // namespace

void ArgumentTypes::AddTool(std::string_view name, std::string_view schema) {
  const Json root = Json::parse(schema, nullptr, /*allow_exceptions=*/false);
  Tool& tool = tools_[std::string(name)];
  if (const Json* properties = FindMember(root, "properties");
      properties != nullptr && properties->is_object()) {
    for (const auto& [argument, its_schema] : properties->items()) {
      int steps = kMaxSteps;
      tool.arguments[argument] = TypesIn(root, its_schema, &steps);
    }
  }
  if (const Json* others = FindMember(root, "additionalProperties"); others != nullptr) {
    int steps = kMaxSteps;
    tool.others = TypesIn(root, *others, &steps);
  }
}

JsonTypes ArgumentTypes::Of(std::string_view tool_name, std::string_view argument) const {
  JsonTypes types;
  if (const auto tool = tools_.find(tool_name); tool != tools_.end()) {
    const auto known = tool->second.arguments.find(argument);
    types = known == tool->second.arguments.end() ? tool->second.others : known->second;
  }
  return types.empty() ? JsonTypes(JsonTypes::kString) : types;
}

}  // namespace tidal
