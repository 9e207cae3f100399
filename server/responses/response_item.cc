#include "server/responses/response_item.h"

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/openai/reply_json.h"

namespace tidal {
namespace {

// An item's JSON with that text, or with none of its contents.
Json Render(const OutputItem& item, const std::string* text) {
  static const std::string* const kNothing = new std::string();
  const std::string& content = text == nullptr ? *kNothing : *text;
  Json json = {{"id", item.id}};
  switch (item.kind) {
    case ItemKind::kReasoning:
      json["type"] = "reasoning";
      json["summary"] = Json::array();
      break;
    case ItemKind::kMessage:
      json["type"] = "message";
      json["role"] = "assistant";
      break;
    case ItemKind::kFunctionCall:
    case ItemKind::kCustomCall:
      json["type"] = item.tool.custom ? "custom_tool_call" : "function_call";
      json["call_id"] = item.call_id;
      json["name"] = item.tool.name;
      if (!item.tool.name_space.empty()) json["namespace"] = item.tool.name_space;
      json[item.tool.custom ? "input" : "arguments"] = content;
      json["status"] = item.status;
      return json;
  }
  json["content"] = Json::array();
  if (text != nullptr) json["content"].push_back(PartJson(item, *text));
  json["status"] = item.status;
  return json;
}

}  // namespace

std::string ItemId(ItemKind kind, const std::string& id, size_t index) {
  const char* prefix = "msg_";
  if (kind == ItemKind::kReasoning) prefix = "rs_";
  if (kind == ItemKind::kFunctionCall) prefix = "fc_";
  if (kind == ItemKind::kCustomCall) prefix = "ctc_";
  return absl::StrCat(prefix, id, "_", index);
}

Json ItemJson(const OutputItem& item) { return Render(item, &item.text); }

Json AddedItemJson(const OutputItem& item) { return Render(item, nullptr); }

Json PartJson(const OutputItem& item, const std::string& text) {
  if (item.kind == ItemKind::kReasoning) return {{"type", "reasoning_text"}, {"text", text}};
  return {{"type", "output_text"},
          {"text", text},
          {"annotations", Json::array()},
          {"logprobs", text.empty() ? Json::array() : LogprobsJson(item.logprobs)}};
}

Json LogprobsJson(const std::vector<v1::TokenLogprobs>& tokens) {
  return std::move(ChatLogprobsJson(tokens, TokenNames::kTexts)["content"]);
}

std::vector<v1::TokenLogprobs> LogprobsOfText(const v1::OutputDelta& delta) {
  std::string written;
  for (const v1::TokenLogprobs& token : delta.logprobs()) written += token.token().bytes();
  // The text comes before calls, and behind reasoning, which may say the same.
  const size_t after = delta.reasoning().empty() ? 0 : written.find(delta.reasoning());
  const size_t begin =
      after == std::string::npos
          ? after
          : written.find(delta.text(), after == 0 ? delta.reasoning().size() : after);
  std::vector<v1::TokenLogprobs> tokens;
  size_t at = 0;
  for (const v1::TokenLogprobs& token : delta.logprobs()) {
    const size_t end = at + token.token().bytes().size();
    // Where the text is not what the tokens say, it is all that the tokens are for.
    if (begin == std::string::npos || (at < begin + delta.text().size() && end > begin)) {
      tokens.push_back(token);
    }
    at = end;
  }
  return tokens;
}

}  // namespace tidal
