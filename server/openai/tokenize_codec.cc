#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/openai/openai_codec.h"
#include "server/openai/request_fields.h"

namespace tidal {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json ModelEntry(const v1::ModelInfo& info, const std::string& name) {
  return {{"id", name},
          {"object", "model"},
          {"created", info.created_unix_seconds()},
          {"owned_by", "tidalserve"},
          {"root", info.model()},
          {"parent", nullptr},
          {"max_model_len", info.max_model_len()}};
}

std::vector<std::string> ServedNames(const v1::ModelInfo& info) {
  if (info.served_names().empty()) return {info.model()};
  return {info.served_names().begin(), info.served_names().end()};
}

}  // namespace

absl::StatusOr<v1::TokenizeRequest> ParseTokenizeRequest(absl::string_view body) {
  TIDAL_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(body));
  JsonFields fields(json);
  v1::TokenizeRequest request;
  if (auto value = fields.String("model")) request.set_model(*value);
  if (auto value = fields.Bool("add_special_tokens")) request.set_add_special_tokens(*value);
  if (auto value = fields.Bool("return_token_strs")) request.set_return_token_strings(*value);
  if (fields.Find("messages") != nullptr) {
    ReadChat(fields, body, *request.mutable_chat());
  } else if (auto prompt = fields.String("prompt")) {
    request.set_text(*std::move(prompt));
  } else {
    fields.Fail("prompt", "must be given, or messages");
  }
  TIDAL_RETURN_IF_ERROR(fields.status());
  return request;
}

absl::StatusOr<v1::DetokenizeRequest> ParseDetokenizeRequest(absl::string_view body) {
  TIDAL_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(body));
  JsonFields fields(json);
  v1::DetokenizeRequest request;
  if (auto value = fields.String("model")) request.set_model(*value);
  if (auto tokens = fields.TokenIds("tokens")) {
    request.mutable_token_ids()->Add(tokens->begin(), tokens->end());
  } else {
    fields.Fail("tokens", "must be given");
  }
  TIDAL_RETURN_IF_ERROR(fields.status());
  return request;
}

// Written out at once: as a tree a long list takes several times the memory of its text.
std::string RenderTokenizeResponse(const v1::TokenizeResponse& response, bool with_strings) {
  std::string out = absl::StrCat("{\"count\":", response.token_ids_size(),
                                 ",\"max_model_len\":", response.max_model_len(), ",\"tokens\":[");
  const char* separator = "";
  for (const uint32_t id : response.token_ids()) {
    absl::StrAppend(&out, separator, id);
    separator = ",";
  }
  out += "],\"token_strs\":";
  if (!with_strings) return out + "null}";
  separator = "[";
  for (const std::string& token : response.token_strings()) {
    absl::StrAppend(&out, separator, Dump(token));
    separator = ",";
  }
  return out + (response.token_strings().empty() ? "[]}" : "]}");
}

std::string RenderDetokenizeResponse(const v1::DetokenizeResponse& response) {
  return Dump({{"prompt", response.text()}});
}

std::string RenderModelList(const v1::ModelInfo& info) {
  Json data = Json::array();
  for (const std::string& name : ServedNames(info)) data.push_back(ModelEntry(info, name));
  return Dump({{"object", "list"}, {"data", std::move(data)}});
}

absl::StatusOr<std::string> RenderModel(const v1::ModelInfo& info, absl::string_view name) {
  for (const std::string& served : ServedNames(info)) {
    if (served == name) return Dump(ModelEntry(info, served));
  }
  return absl::NotFoundError(absl::StrCat("model: must be a served model, got \"", name, "\""));
}

std::string RenderVersion(absl::string_view version) {
  return Dump({{"version", std::string(version)}});
}

}  // namespace tidal
