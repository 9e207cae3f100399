#include "server/responses/response_input.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/json/json_value.h"
#include "nlohmann/json.hpp"
#include "server/openai/raw_json.h"

namespace tidal {
namespace {

using Json = nlohmann::ordered_json;
using Texts = std::vector<std::string>;

// The parts that are text, and the member that has it.
struct TextPart {
  const char *type, *member;
};
constexpr TextPart kTextParts[] = {{"input_text", "text"},     {"output_text", "text"},
                                   {"refusal", "refusal"},     {"text", "text"},
                                   {"reasoning_text", "text"}, {"summary_text", "text"}};

// Without building it: what is in a string is not counted among the values of a body.
bool IsJsonObject(const std::string& text) {
  return absl::StartsWith(absl::StripLeadingAsciiWhitespace(text), "{") && IsJson(text);
}

// Builds the turns of a chat.
class Turns {
 public:
  // The first is the system's, until Finish() finds that it has said nothing.
  explicit Turns(v1::Chat& chat) : chat_(chat) { chat_.add_messages()->set_role("system"); }

  void AddSystem(const std::string& text) {
    if (text.empty()) return;
    std::string& said = *chat_.mutable_messages(0)->mutable_content();
    absl::StrAppend(&said, said.empty() ? "" : "\n\n", text);
  }

  v1::ChatMessage& Begin(const char* role) {
    v1::ChatMessage& turn = *chat_.add_messages();
    turn.set_role(role);
    return turn;
  }

  // The turn of the assistant that goes on, or a new one.
  v1::ChatMessage& Assistant() {
    v1::ChatMessage& last = *chat_.mutable_messages(chat_.messages_size() - 1);
    return last.role() == "assistant" ? last : Begin("assistant");
  }

  void Finish() {
    if (chat_.messages(0).content().empty()) chat_.mutable_messages()->DeleteSubrange(0, 1);
  }

 private:
  v1::Chat& chat_;
};

class InputReader {
 public:
  // `items_text`: what the array of items was parsed from.
  InputReader(absl::string_view items_text, v1::Chat& chat, ClientTools& tools, LeftOut& left_out)
      : items_text_(items_text), chat_(chat), turns_(chat), tools_(tools), left_out_(left_out) {}

  Turns& turns() { return turns_; }

  void ReadItems(JsonFields& fields, const nlohmann::json& items) {
    for (index_ = 0; index_ < items.size(); ++index_) {
      name_ = absl::StrCat("input[", index_, "]");
      if (!items[index_].is_object()) return fields.Fail(name_, "an object", items[index_]);
      JsonFields item(items[index_], name_ + ".");
      ReadItem(item);
      fields.Adopt(item.status());
    }
  }

 private:
  void ReadItem(JsonFields& item) {
    struct Kind {
      const char* type;
      void (InputReader::*read)(JsonFields& item);
    };
    static constexpr Kind kKinds[] = {
        {"message", &InputReader::ReadMessage},
        {"reasoning", &InputReader::ReadReasoning},
        {"function_call", &InputReader::ReadFunctionCall},
        {"function_call_output", &InputReader::ReadCallOutput},
        {"custom_tool_call", &InputReader::ReadCustomCall},
        {"custom_tool_call_output", &InputReader::ReadCallOutput},
        {"additional_tools", &InputReader::ReadMoreTools},
        {"item_reference", &InputReader::RefuseReference},
    };
    // The official client's types leave these two be told by their members.
    const bool has_role = item.Find("role") != nullptr;
    const std::string type = item.String("type").value_or(has_role ? "message" : "item_reference");
    const auto* kind = std::find_if(std::begin(kKinds), std::end(kKinds),
                                    [&](const Kind& known) { return type == known.type; });
    if (kind == std::end(kKinds)) return left_out_.Add(name_, type);
    (this->*kind->read)(item);
  }

  // A string, or parts that are text, into `texts`.
  void ReadTexts(JsonFields& item, const char* member, Texts& texts) {
    const nlohmann::json* value = item.Find(member);
    if (value == nullptr) return item.Fail(member, "must be given");
    if (value->is_string()) return texts.push_back(value->get<std::string>());
    if (!value->is_array()) {
      return item.Fail(member, "a string or an array of text parts", *value);
    }
    for (size_t i = 0; i < value->size(); ++i) {
      ReadPart(item, absl::StrCat(member, "[", i, "]"), (*value)[i], texts);
    }
  }

  void ReadPart(JsonFields& item, const std::string& name, const nlohmann::json& json,
                Texts& texts) {
    if (!json.is_object()) return item.Fail(name, "an object", json);
    JsonFields part(json, absl::StrCat(name_, ".", name, "."));
    const std::string type = part.String("type").value_or("");
    const auto* known = std::find_if(std::begin(kTextParts), std::end(kTextParts),
                                     [&](const TextPart& text) { return type == text.type; });
    if (type == "encrypted_content") {  // for nobody but who wrote it
      left_out_.Add(absl::StrCat(name_, ".", name), type);
    } else if (known == std::end(kTextParts)) {
      part.Fail("type", R"(a part that is text: "input_text", "output_text" or "refusal")", type);
    } else if (auto text = part.String(known->member)) {
      texts.push_back(*std::move(text));
    } else {
      part.Fail(known->member, "must be given");
    }
    item.Adopt(part.status());
  }

  void ReadMessage(JsonFields& item) {
    const std::string role = item.String("role").value_or("");
    const bool system = role == "system" || role == "developer";
    if (!system && role != "user" && role != "assistant") {
      return item.Fail("role", R"("user", "assistant", "system" or "developer")", role);
    }
    Texts texts;
    ReadTexts(item, "content", texts);
    if (system) return turns_.AddSystem(absl::StrJoin(texts, "\n"));
    v1::ChatMessage& turn = role == "user" ? turns_.Begin("user") : turns_.Assistant();
    for (std::string& text : texts) {
      if (!text.empty()) turn.add_content_parts(std::move(text));
    }
  }

  void ReadReasoning(JsonFields& item) {
    Texts texts;
    for (const char* member : {"content", "summary"}) {  // a summary only where there is no more
      if (texts.empty() && item.Find(member) != nullptr) ReadTexts(item, member, texts);
    }
    if (texts.empty()) {
      if (item.Find("encrypted_content") != nullptr) left_out_.Add(name_, "encrypted_content");
      return;
    }
    std::string& reasoning = *turns_.Assistant().mutable_reasoning();
    absl::StrAppend(&reasoning, reasoning.empty() ? "" : "\n", absl::StrJoin(texts, "\n"));
  }

  void AddCall(JsonFields& item, Json arguments) {
    const auto id = item.String("call_id"), name = item.String("name");
    const auto name_space = item.String("namespace");
    if (!id) return item.Fail("call_id", "must be given");
    if (!name || name->empty()) return item.Fail("name", "must be given");
    Json function = {{"name", ModelToolName(name_space.value_or(""), *name)},
                     {"arguments", std::move(arguments)}};
    const Json call = {{"id", *id}, {"type", "function"}, {"function", std::move(function)}};
    turns_.Assistant().add_tool_calls(call.dump());
  }

  void ReadFunctionCall(JsonFields& item) {
    const auto arguments = item.String("arguments");
    if (!arguments) return item.Fail("arguments", "must be given");
    if (arguments->empty() || IsJsonObject(*arguments)) return AddCall(item, *arguments);
    // A call that a model got wrong or was cut in: to refuse it would end the conversation for
    // good.
    Json broken = Json::object();
    broken["arguments"] = *arguments;
    AddCall(item, std::move(broken));
  }

  void ReadCustomCall(JsonFields& item) {
    const auto input = item.String("input");
    if (!input) return item.Fail("input", "must be given");
    Json arguments = Json::object();
    arguments[kCustomInput] = *input;
    AddCall(item, std::move(arguments));
  }

  void ReadCallOutput(JsonFields& item) {
    const auto id = item.String("call_id");
    if (!id) return item.Fail("call_id", "must be given");
    Texts texts;
    ReadTexts(item, "output", texts);
    v1::ChatMessage& turn = turns_.Begin("tool");
    turn.set_tool_call_id(*id);
    for (std::string& text : texts) turn.add_content_parts(std::move(text));
  }

  void ReadMoreTools(JsonFields& item) {
    if (texts_.empty()) texts_ = RawElements(items_text_);
    ReadTools(item, texts_[index_], name_ + ".", chat_, tools_, left_out_);
  }

  void RefuseReference(JsonFields& item) {
    item.Fail("type", "must not be \"item_reference\": this server stores no items, send it whole");
  }

  const absl::string_view items_text_;
  std::vector<absl::string_view> texts_;  // of the items, once one is wanted
  v1::Chat& chat_;
  Turns turns_;
  ClientTools& tools_;
  LeftOut& left_out_;
  size_t index_ = 0;
  std::string name_;  // of the item: "input[3]"
};

}  // namespace

void ReadInput(JsonFields& fields, absl::string_view body, v1::Chat& chat, ClientTools& tools,
               LeftOut& left_out) {
  InputReader reader(RawMember(body, "input"), chat, tools, left_out);
  if (auto instructions = fields.String("instructions")) reader.turns().AddSystem(*instructions);
  const nlohmann::json* input = fields.Find("input");
  if (input == nullptr) return fields.Fail("input", "must be given");
  if (input->is_string()) {
    reader.turns().Begin("user").set_content(input->get<std::string>());
  } else if (input->is_array()) {
    reader.ReadItems(fields, *input);
    if (fields.status().ok() && chat.messages_size() == 1) {
      fields.Fail("input", "must have an item that a chat has: a message, a call or its output");
    }
  } else {
    fields.Fail("input", "a string or an array of items", *input);
  }
  reader.turns().Finish();
}

}  // namespace tidal
