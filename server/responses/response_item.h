// An item of a response's output, and the JSON of it.
#ifndef TIDAL_SERVER_RESPONSES_RESPONSE_ITEM_H_
#define TIDAL_SERVER_RESPONSES_RESPONSE_ITEM_H_

#include <cstddef>
#include <string>
#include <vector>

#include "nlohmann/json_fwd.hpp"
#include "proto/tidal/v1/inference.pb.h"
#include "server/responses/custom_input.h"
#include "server/responses/response_tools.h"

namespace tidal {

enum class ItemKind { kReasoning, kMessage, kFunctionCall, kCustomCall };

struct OutputItem {
  ItemKind kind = ItemKind::kMessage;
  size_t index = 0;  // in the output
  std::string id;
  const char* status = "in_progress";
  std::string text;                         // said, thought, or given to the tool
  std::vector<v1::TokenLogprobs> logprobs;  // of kMessage, where they are wanted
  std::string call_id;                      // of calls, like what follows
  ClientTool tool;
  CustomInput input;  // of kCustomCall: makes the text
};

// "msg_<id>_<index>", with the kind's own beginning.
std::string ItemId(ItemKind kind, const std::string& id, size_t index);

// As it stands in the output; before its text, as it is added.
nlohmann::ordered_json ItemJson(const OutputItem& item);
nlohmann::ordered_json AddedItemJson(const OutputItem& item);

// Of kReasoning and kMessage: the one part of the content, with that text.
nlohmann::ordered_json PartJson(const OutputItem& item, const std::string& text);

nlohmann::ordered_json LogprobsJson(const std::vector<v1::TokenLogprobs>& tokens);

// The tokens of a delta that its text is made of, in whole or in part: reasoning, markers and calls
// have tokens there, too.
std::vector<v1::TokenLogprobs> LogprobsOfText(const v1::OutputDelta& delta);

}  // namespace tidal

#endif  // TIDAL_SERVER_RESPONSES_RESPONSE_ITEM_H_
