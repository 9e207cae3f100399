// Events of a service, and what a stream of a response says, for tests of replies.
#ifndef TIDAL_TESTS_SERVER_RESPONSES_SERVICE_EVENTS_H_
#define TIDAL_TESTS_SERVER_RESPONSES_SERVICE_EVENTS_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"
#include "server/responses/responses_request.h"

namespace tidal::responses_test {

using nlohmann::json;
using Events = std::vector<v1::GenerateResponse>;

inline v1::GenerateResponse Prompt() {
  v1::GenerateResponse event;
  event.mutable_prompt()->set_model("m");
  event.mutable_prompt()->set_prompt_tokens(3);
  return event;
}

inline v1::GenerateResponse Text(const std::string& text) {
  v1::GenerateResponse event;
  event.mutable_delta()->set_text(text);
  return event;
}

inline v1::GenerateResponse Thought(const std::string& text) {
  v1::GenerateResponse event;
  event.mutable_delta()->set_reasoning(text);
  return event;
}

inline v1::GenerateResponse Call(uint32_t index, const std::string& arguments,
                                 const std::string& id = "", const std::string& name = "") {
  v1::GenerateResponse event;
  v1::ToolCallDelta& piece = *event.mutable_delta()->add_tool_calls();
  piece.set_index(index);
  piece.set_id(id);
  piece.set_name(name);
  piece.set_arguments(arguments);
  return event;
}

inline v1::GenerateResponse Finish(v1::FinishReason reason) {
  v1::GenerateResponse event;
  event.mutable_finish()->set_reason(reason);
  return event;
}

inline v1::GenerateResponse Usage() {
  v1::GenerateResponse event;
  event.mutable_usage()->set_completion_tokens(4);
  event.mutable_usage()->set_cached_tokens(2);
  event.mutable_usage()->set_reasoning_tokens(1);
  event.mutable_usage()->mutable_attention()->set_dense_steps(4);
  return event;
}

inline std::shared_ptr<ResponsesOptions> Options() {
  auto options = std::make_shared<ResponsesOptions>();
  options->echo = R"("tools":[],"instructions":null)";
  options->model = "asked";
  options->structure_field = "text.format.schema";
  options->tools = {{"f", {"", "f", false, "tools[0]", 0}},
                    {"mcp__s__g", {"mcp__s", "g", false, "tools[3].tools[1]", 1}},
                    {"patch", {"", "patch", true, "tools[4]", 2}}};
  return options;
}

// The data of each server-sent event, whose name is its type and whose numbers count from 0.
inline std::vector<json> ParseEvents(const std::string& out) {
  std::vector<json> events;
  const std::vector<std::string> pieces = absl::StrSplit(out, "\n\n", absl::SkipEmpty());
  for (const std::string& piece : pieces) {
    const std::vector<std::string> lines = absl::StrSplit(piece, '\n');
    EXPECT_EQ(lines.size(), 2u) << piece;
    if (lines.size() != 2) continue;
    events.push_back(json::parse(lines[1].substr(6)));
    EXPECT_EQ(lines[0], absl::StrCat("event: ", events.back()["type"].get<std::string>()));
    EXPECT_EQ(events.back()["sequence_number"], events.size() - 1);
  }
  return events;
}

// The types, without "response.".
inline std::vector<std::string> Types(const std::vector<json>& events) {
  std::vector<std::string> types;
  for (const json& event : events) types.push_back(event["type"].get<std::string>().substr(9));
  return types;
}

}  // namespace tidal::responses_test

#endif  // TIDAL_TESTS_SERVER_RESPONSES_SERVICE_EVENTS_H_
