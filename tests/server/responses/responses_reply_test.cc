// What a response is made of a service's events, streamed and not.
#include "server/responses/responses_reply.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "tests/server/responses/service_events.h"

namespace tidal::responses_test {
namespace {

using ::testing::ElementsAre;

// All deltas as one, as a service gives them to a client that does not stream.
Events Merged(const Events& events) {
  Events merged;
  for (const v1::GenerateResponse& event : events) {
    if (!event.has_delta() || merged.empty() || !merged.back().has_delta()) {
      merged.push_back(event);
      continue;
    }
    v1::OutputDelta& delta = *merged.back().mutable_delta();
    delta.mutable_text()->append(event.delta().text());
    delta.mutable_reasoning()->append(event.delta().reasoning());
    delta.mutable_logprobs()->MergeFrom(event.delta().logprobs());
    for (const v1::ToolCallDelta& piece : event.delta().tool_calls()) {
      if (piece.id().empty() && delta.tool_calls_size() > 0) {
        delta.mutable_tool_calls(delta.tool_calls_size() - 1)
            ->mutable_arguments()
            ->append(piece.arguments());
      } else {
        *delta.add_tool_calls() = piece;
      }
    }
  }
  return merged;
}

json Collect(const std::shared_ptr<ResponsesOptions>& options, const Events& events) {
  options->stream = false;
  ResponsesReply reply(options, {"x", 17});
  std::string body;
  for (const auto& event : events) EXPECT_TRUE(reply.OnEvent(0, event, &body).ok());
  EXPECT_EQ(body, "") << "nothing before the end";
  EXPECT_EQ(reply.Finish(&body), absl::OkStatus());
  return json::parse(body);
}

std::vector<json> Stream(const std::shared_ptr<ResponsesOptions>& options, const Events& events) {
  options->stream = true;
  ResponsesReply reply(options, {"x", 17});
  std::string out;
  for (const auto& event : events) EXPECT_TRUE(reply.OnEvent(0, event, &out).ok());
  EXPECT_EQ(reply.Finish(&out), absl::OkStatus());
  return ParseEvents(out);
}

// What a client adds up, checked as the official one does: an item comes before what is in it, ends
// before the next begins, and keeps its id; what its deltas make is what it has in the end.
class Client {
 public:
  void OnEvent(const json& event) {
    const std::string type = event["type"];
    if (event.contains("response")) {
      EXPECT_EQ(event["response"]["id"], "resp_x");
    } else if (type == "response.output_item.added") {
      EXPECT_FALSE(open_);
      EXPECT_EQ(event["output_index"], items_.size());
      EXPECT_EQ(event["item"]["status"], "in_progress");
      items_.push_back(event["item"]);
      open_ = true;
    } else if (type == "response.output_item.done") {
      EXPECT_TRUE(open_);
      EXPECT_EQ(event["item"]["id"], items_.back()["id"]);
      items_.back()["status"] = event["item"]["status"];
      EXPECT_EQ(event["item"], items_.back());
      open_ = false;
    } else {
      OnContent(type, event);
    }
  }
  const json& items() const { return items_; }

 private:
  void OnContent(const std::string& type, const json& event) {
    ASSERT_TRUE(open_) << type;
    json& item = items_.back();
    EXPECT_EQ(event["item_id"], item["id"]);
    EXPECT_EQ(event["output_index"], items_.size() - 1);
    const bool content = item.contains("content");
    if (content) {
      EXPECT_EQ(event["content_index"], 0);
    }
    if (type == "response.content_part.added") return item["content"].push_back(event["part"]);
    json& text =
        content ? item["content"][0]["text"] : item[item.contains("input") ? "input" : "arguments"];
    if (event.contains("delta")) {
      text = text.get<std::string>() + event["delta"].get<std::string>();
      for (const json& token : event.value("logprobs", json::array())) {
        item["content"][0]["logprobs"].push_back(token);
      }
    } else if (type == "response.content_part.done") {
      EXPECT_EQ(event["part"], item["content"][0]);
    } else {  // *.done
      EXPECT_EQ(event[content ? "text" : item.contains("input") ? "input" : "arguments"], text);
    }
  }

  json items_ = json::array();
  bool open_ = false;
};

// Streamed, added up by a client, and in one piece: all the same. Gives the response.
json CheckAlike(const std::shared_ptr<ResponsesOptions>& options, const Events& events) {
  json response = Collect(options, Merged(events));
  Client client;
  const std::vector<json> stream = Stream(options, events);
  for (const json& event : stream) client.OnEvent(event);
  EXPECT_EQ(client.items(), response["output"]);
  EXPECT_EQ(stream.back()["response"], response);
  EXPECT_EQ(Collect(options, events), response);
  return response;
}

const Events kAll = {Prompt(),
                     Thought("I "),
                     Thought("think."),
                     Text("One "),
                     Text("moment."),
                     Call(0, "", "c0", "f"),
                     Call(0, "{\"x\":"),
                     Call(0, "1}"),
                     Call(1, "{}", "c1", "mcp__s__g"),
                     Call(2, "{\"input\": \"a\\n", "c2", "patch"),
                     Call(2, "b\"}"),
                     Call(3, "{}", "c3", "made_up"),
                     Finish(v1::FINISH_REASON_TOOL_CALLS),
                     Usage()};

TEST(ResponsesReply, EveryKindOfItem) {
  const json response = CheckAlike(Options(), kAll);
  EXPECT_EQ(response["output"], json::parse(R"([
    {"type": "reasoning", "id": "rs_x_0", "status": "completed", "summary": [],
     "content": [{"type": "reasoning_text", "text": "I think."}]},
    {"type": "message", "id": "msg_x_1", "status": "completed", "role": "assistant",
     "content": [{"type": "output_text", "text": "One moment.", "annotations": [],
                  "logprobs": []}]},
    {"type": "function_call", "id": "fc_x_2", "status": "completed", "call_id": "c0", "name": "f",
     "arguments": "{\"x\":1}"},
    {"type": "function_call", "id": "fc_x_3", "status": "completed", "call_id": "c1", "name": "g",
     "namespace": "mcp__s", "arguments": "{}"},
    {"type": "custom_tool_call", "id": "ctc_x_4", "status": "completed", "call_id": "c2",
     "name": "patch", "input": "a\nb"},
    {"type": "function_call", "id": "fc_x_5", "status": "completed", "call_id": "c3",
     "name": "made_up", "arguments": "{}"}])"));
  EXPECT_EQ(response["status"], "completed");
}

TEST(ResponsesReply, TheResponse) {
  json response =
      CheckAlike(Options(), {Prompt(), Text("Hi"), Finish(v1::FINISH_REASON_STOP), Usage()});
  response.erase("output");
  EXPECT_EQ(response, json::parse(R"({"id": "resp_x", "object": "response", "created_at": 17,
    "status": "completed", "background": false, "error": null, "incomplete_details": null,
    "model": "m", "previous_response_id": null, "service_tier": "default", "store": false,
    "usage": {"input_tokens": 3, "input_tokens_details": {"cached_tokens": 2,
              "cache_write_tokens": 0}, "output_tokens": 4,
              "output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 7,
              "attention": {"mode": "full", "budget": 0, "sparse_steps": 0, "dense_steps": 4}},
    "tools": [], "instructions": null})"));
}

TEST(ResponsesReply, TheOrderOfEvents) {
  const std::vector<json> events = Stream(Options(), kAll);
  EXPECT_THAT(
      Types(events),
      ElementsAre(
          "created", "in_progress",  //
          "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta",
          "reasoning_text.done", "content_part.done", "output_item.done", "output_item.added",
          "content_part.added", "output_text.delta", "output_text.delta", "output_text.done",
          "content_part.done", "output_item.done",  //
          "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
          "function_call_arguments.done", "output_item.done",  //
          "output_item.added", "function_call_arguments.delta", "function_call_arguments.done",
          "output_item.done",  //
          "output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.delta",
          "custom_tool_call_input.done", "output_item.done",  //
          "output_item.added", "function_call_arguments.delta", "function_call_arguments.done",
          "output_item.done", "completed"));
  for (const json& event : {events[0], events[1]}) {
    EXPECT_EQ(event["response"]["status"], "in_progress");
    EXPECT_EQ(event["response"]["output"], json::array());
    EXPECT_EQ(event["response"]["usage"], nullptr);
    EXPECT_EQ(event["response"]["model"], "m");
  }
}

TEST(ResponsesReply, CutShort) {
  for (const Events& said : {Events{Text("Hi")}, Events{Thought("Hm")},
                             Events{Text("Hi"), Call(0, "{\"inp", "c", "f")}}) {
    Events events = said;
    events.insert(events.begin(), Prompt());
    events.push_back(Finish(v1::FINISH_REASON_LENGTH));
    events.push_back(Usage());
    const json response = CheckAlike(Options(), events);
    EXPECT_EQ(response["status"], "incomplete");
    EXPECT_EQ(response["incomplete_details"], json({{"reason", "max_output_tokens"}}));
    EXPECT_EQ(response["output"].back()["status"], "incomplete");
    EXPECT_EQ(response["output"].front()["status"], said.size() > 1 ? "completed" : "incomplete");
    EXPECT_EQ(Stream(Options(), events).back()["type"], "response.incomplete");
  }
}

TEST(ResponsesReply, ACustomCallThatIsNone) {
  const json response =
      CheckAlike(Options(), {Prompt(), Call(0, "{\"text\": ", "c", "patch"), Call(0, "1}"),
                             Finish(v1::FINISH_REASON_TOOL_CALLS), Usage()});
  EXPECT_EQ(response["output"][0]["input"], "{\"text\": 1}");
}

TEST(ResponsesReply, ReasoningThatIsNotWanted) {
  auto options = Options();
  options->include_reasoning = false;
  const json response = CheckAlike(options, kAll);
  EXPECT_EQ(response["output"][0]["id"], "msg_x_0");
  EXPECT_EQ(response["usage"]["output_tokens_details"]["reasoning_tokens"], 1);
}

TEST(ResponsesReply, NothingSaid) {
  const json response = CheckAlike(Options(), {Prompt(), Finish(v1::FINISH_REASON_STOP), Usage()});
  EXPECT_EQ(response["output"], json::array());
}

// A client that reads slowly gets what came meanwhile as one.
TEST(ResponsesReply, ADeltaGoesOnWithTheCallBeforeItsText) {
  v1::GenerateResponse mixed = Call(0, "1}");
  mixed.mutable_delta()->set_text("And more.");
  const std::vector<json> events =
      Stream(Options(), {Prompt(), Call(0, "{\"x\":", "c0", "f"), mixed, Text("!"),
                         Call(1, "{}", "c1", "f"), Finish(v1::FINISH_REASON_STOP), Usage()});
  const json& output = events.back()["response"]["output"];
  ASSERT_EQ(output.size(), 3u);
  EXPECT_EQ(output[0]["arguments"], "{\"x\":1}");
  EXPECT_EQ(output[1]["content"][0]["text"], "And more.!");
  EXPECT_EQ(output[2]["call_id"], "c1");
}

void AddToken(const std::string& bytes, v1::GenerateResponse* event) {
  v1::TokenLogprobs& token = *event->mutable_delta()->add_logprobs();
  token.mutable_token()->set_token(bytes);
  token.mutable_token()->set_bytes(bytes);
  token.mutable_token()->set_logprob(-0.5);
  *token.add_top() = token.token();
}

std::string Tokens(const json& logprobs) {
  std::string tokens;
  for (const json& token : logprobs)
    absl::StrAppend(&tokens, token["token"].get<std::string>(), "|");
  return tokens;
}

TEST(ResponsesReply, LogprobsAreTheMessages) {
  v1::GenerateResponse thought = Thought("Hi");
  for (const char* token : {"<think>", "H", "i"}) AddToken(token, &thought);
  v1::GenerateResponse text = Text("Hi yo");
  for (const char* token : {"</think>", "\n", "Hi", " y"}) AddToken(token, &text);
  AddToken("o", &text);
  v1::GenerateResponse last = Text("u");
  for (const char* token : {"u", "<|end|>"}) AddToken(token, &last);
  auto options = Options();
  options->logprobs = true;
  const json response =
      CheckAlike(options, {Prompt(), thought, text, last, Finish(v1::FINISH_REASON_STOP), Usage()});
  const json& logprobs = response["output"][1]["content"][0]["logprobs"];
  EXPECT_EQ(Tokens(logprobs), "Hi| y|o|u|");
  EXPECT_EQ(logprobs[0], json::parse(R"({"token": "Hi", "logprob": -0.5, "bytes": [72, 105],
      "top_logprobs": [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}]})"));
}

TEST(ResponsesReply, AServiceThatBreaksTheContract) {
  ResponsesReply reply(Options(), {"x", 17});
  std::string out;
  v1::GenerateResponse second = Text("Hi");
  second.mutable_delta()->set_index(1);
  EXPECT_EQ(reply.OnEvent(0, second, &out).code(), absl::StatusCode::kInternal);
  EXPECT_EQ(reply.Finish(&out).code(), absl::StatusCode::kInternal);
  ASSERT_TRUE(reply.OnEvent(0, Finish(v1::FINISH_REASON_STOP), &out).ok());
  EXPECT_EQ(reply.Finish(&out).code(), absl::StatusCode::kInternal) << "no usage";
  // Arguments of no call are nobody's.
  EXPECT_TRUE(reply.OnEvent(0, Call(0, "{}"), &out).ok());
}

}  // namespace
}  // namespace tidal::responses_test
