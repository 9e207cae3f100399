#include "server/responses/response_output.h"

#include <utility>

#include "nlohmann/json.hpp"
#include "server/openai/reply_json.h"

namespace tidal {

ResponseOutput::ResponseOutput(const ResponsesOptions* options, std::string id,
                               ResponseEvents* events)
    : options_(options), id_(std::move(id)), events_(events) {}

void ResponseOutput::OnDelta(const v1::OutputDelta& delta, std::string* out) {
  int piece = 0;
  while (piece < delta.tool_calls_size() && delta.tool_calls(piece).id().empty()) {
    AddCall(delta.tool_calls(piece++), out);
  }
  if (!delta.reasoning().empty() && options_->include_reasoning) {
    AddReasoning(delta.reasoning(), out);
  }
  if (!delta.text().empty()) AddMessage(delta, out);
  while (piece < delta.tool_calls_size()) AddCall(delta.tool_calls(piece++), out);
}

void ResponseOutput::Finish(bool complete, std::string* out) {
  if (is_open_) End(complete ? "completed" : "incomplete", out);
}

void ResponseOutput::Break() {
  if (is_open_) items_.back().status = "incomplete";
  is_open_ = false;
}

Json ResponseOutput::Items() const {
  Json items = Json::array();
  for (const OutputItem& item : items_) items.push_back(ItemJson(item));
  return items;
}

OutputItem* ResponseOutput::Open(ItemKind kind) {
  return is_open_ && items_.back().kind == kind ? &items_.back() : nullptr;
}

OutputItem& ResponseOutput::Begin(ItemKind kind, std::string* out) {
  if (is_open_) End("completed", out);
  OutputItem& item = items_.emplace_back();
  item.kind = kind;
  item.index = items_.size() - 1;
  item.id = ItemId(kind, id_, item.index);
  is_open_ = true;
  return item;
}

OutputItem& ResponseOutput::ContentItem(ItemKind kind, std::string* out) {
  if (OutputItem* open = Open(kind); open != nullptr) return *open;
  OutputItem& item = Begin(kind, out);
  ReportItem("response.output_item.added", item, AddedItemJson(item), out);
  Report("response.content_part.added", item, {{"content_index", 0}, {"part", PartJson(item, "")}},
         out);
  return item;
}

void ResponseOutput::AddReasoning(const std::string& text, std::string* out) {
  OutputItem& item = ContentItem(ItemKind::kReasoning, out);
  item.text += text;
  Report("response.reasoning_text.delta", item, {{"content_index", 0}, {"delta", text}}, out);
}

void ResponseOutput::AddMessage(const v1::OutputDelta& delta, std::string* out) {
  OutputItem& item = ContentItem(ItemKind::kMessage, out);
  item.text += delta.text();
  Json more = {{"content_index", 0}, {"delta", delta.text()}, {"logprobs", Json::array()}};
  if (options_->logprobs) {
    const std::vector<v1::TokenLogprobs> tokens = LogprobsOfText(delta);
    if (events_->streamed()) more["logprobs"] = LogprobsJson(tokens);
    item.logprobs.insert(item.logprobs.end(), tokens.begin(), tokens.end());
  }
  Report("response.output_text.delta", item, more, out);
}

void ResponseOutput::AddCall(const v1::ToolCallDelta& piece, std::string* out) {
  if (!piece.id().empty()) {
    const auto known = options_->tools.find(piece.name());
    const bool is_known = known != options_->tools.end();
    const bool custom = is_known && known->second.custom;
    OutputItem& call = Begin(custom ? ItemKind::kCustomCall : ItemKind::kFunctionCall, out);
    call.call_id = piece.id();
    call.tool.name = piece.name();  // which the model may have made up
    if (is_known) call.tool = known->second;
    ReportItem("response.output_item.added", call, AddedItemJson(call), out);
  }
  if (is_open_) AddArguments(items_.back(), piece.arguments(), out);
}

void ResponseOutput::AddArguments(OutputItem& call, const std::string& text, std::string* out) {
  if (call.kind == ItemKind::kFunctionCall && !text.empty()) {
    call.text += text;
    Report("response.function_call_arguments.delta", call, {{"delta", text}}, out);
  } else if (call.kind == ItemKind::kCustomCall) {
    const std::string input = call.input.Append(text);
    if (input.empty()) return;
    call.text += input;
    Report("response.custom_tool_call_input.delta", call, {{"delta", input}}, out);
  }
}

void ResponseOutput::EndContent(const OutputItem& item, std::string* out) {
  if (!events_->streamed()) return;
  const bool message = item.kind == ItemKind::kMessage;
  Json more = {{"content_index", 0}, {"text", item.text}};
  if (message) more["logprobs"] = LogprobsJson(item.logprobs);
  Report(message ? "response.output_text.done" : "response.reasoning_text.done", item, more, out);
  Report("response.content_part.done", item,
         {{"content_index", 0}, {"part", PartJson(item, item.text)}}, out);
}

void ResponseOutput::EndCall(OutputItem& call, std::string* out) {
  if (call.kind == ItemKind::kFunctionCall) {
    return Report("response.function_call_arguments.done", call, {{"arguments", call.text}}, out);
  }
  if (const std::string rest = call.input.Finish(); !rest.empty()) {
    call.text += rest;
    Report("response.custom_tool_call_input.delta", call, {{"delta", rest}}, out);
  }
  Report("response.custom_tool_call_input.done", call, {{"input", call.text}}, out);
}

void ResponseOutput::End(const char* status, std::string* out) {
  OutputItem& item = items_.back();
  if (item.kind == ItemKind::kReasoning || item.kind == ItemKind::kMessage) {
    EndContent(item, out);
  } else {
    EndCall(item, out);
  }
  item.status = status;
  is_open_ = false;
  ReportItem("response.output_item.done", item, ItemJson(item), out);
}

void ResponseOutput::Report(const char* type, const OutputItem& item, const Json& more,
                            std::string* out) {
  if (!events_->streamed()) return;
  Json members = {{"item_id", item.id}, {"output_index", item.index}};
  members.update(more);
  events_->Append(type, members, out);
}

void ResponseOutput::ReportItem(const char* type, const OutputItem& item, Json json,
                                std::string* out) {
  if (!events_->streamed()) return;
  events_->Append(type, Json{{"output_index", item.index}, {"item", std::move(json)}}, out);
}

}  // namespace tidal
