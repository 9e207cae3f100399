// Messages as replies: the exact JSON, and streams that add up to it by the rules of the official
// client.
#include "server/anthropic/messages_reply.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"
#include "server/anthropic/messages_json.h"

namespace tidal {
namespace {

using nlohmann::json;
using Events = std::vector<v1::GenerateResponse>;

const ReplyIdentity kIdentity = {"r1", 1700000000};

v1::GenerateResponse Prompt() {
  v1::GenerateResponse event;
  event.mutable_prompt()->set_model("m");
  event.mutable_prompt()->set_prompt_tokens(30);
  return event;
}

v1::GenerateResponse Text(const std::string& text) {
  v1::GenerateResponse event;
  event.mutable_delta()->set_text(text);
  return event;
}

v1::GenerateResponse Reasoning(const std::string& text) {
  v1::GenerateResponse event;
  event.mutable_delta()->set_reasoning(text);
  return event;
}

void AddCall(uint32_t index, const std::string& arguments, const std::string& id,
             const std::string& name, v1::GenerateResponse* event) {
  v1::ToolCallDelta& piece = *event->mutable_delta()->add_tool_calls();
  piece.set_index(index);
  piece.set_id(id);
  piece.set_name(name);
  piece.set_arguments(arguments);
}

v1::GenerateResponse Call(uint32_t index, const std::string& arguments, const std::string& id = "",
                          const std::string& name = "") {
  v1::GenerateResponse event;
  AddCall(index, arguments, id, name, &event);
  return event;
}

v1::GenerateResponse Finish(v1::FinishReason reason, const std::string& stop_string = "") {
  v1::GenerateResponse event;
  event.mutable_finish()->set_reason(reason);
  event.mutable_finish()->set_stop_string(stop_string);
  return event;
}

v1::GenerateResponse Usage(uint32_t completion_tokens = 20) {
  v1::GenerateResponse event;
  event.mutable_usage()->set_prompt_tokens(30);
  event.mutable_usage()->set_completion_tokens(completion_tokens);
  event.mutable_usage()->set_cached_tokens(16);
  return event;
}

// `content`, from the prompt to the usage.
Events Whole(const Events& content, v1::FinishReason reason = v1::FINISH_REASON_STOP,
             const std::string& stop_string = "", uint32_t completion_tokens = 20) {
  Events events = {Prompt()};
  events.insert(events.end(), content.begin(), content.end());
  events.push_back(Finish(reason, stop_string));
  events.push_back(Usage(completion_tokens));
  return events;
}

std::string CollectText(const Events& events, MessagesReplyOptions options) {
  CollectedMessage reply(options, kIdentity);
  std::string out;
  for (const auto& event : events) EXPECT_TRUE(reply.OnEvent(0, event, &out).ok());
  EXPECT_EQ(out, "") << "nothing before the end";
  EXPECT_EQ(reply.Finish(&out), absl::OkStatus());
  return out;
}

// The data of each event, whose name is its type.
std::vector<json> Stream(const Events& events, MessagesReplyOptions options) {
  options.stream = true;
  StreamedMessage reply(options, kIdentity);
  std::string out;
  for (const auto& event : events) EXPECT_TRUE(reply.OnEvent(0, event, &out).ok());
  EXPECT_EQ(reply.Finish(&out), absl::OkStatus());
  std::vector<json> result;
  for (const absl::string_view event : absl::StrSplit(out, "\n\n", absl::SkipEmpty())) {
    const std::vector<std::string> lines = absl::StrSplit(event, absl::MaxSplits('\n', 1));
    EXPECT_EQ(lines[1].rfind("data: ", 0), 0u) << event;
    result.push_back(json::parse(lines[1].substr(6)));
    EXPECT_EQ(lines[0], "event: " + result.back()["type"].get<std::string>());
  }
  return result;
}

void AddDelta(const json& delta, std::string* input, json* block) {
  const std::string& type = delta["type"].get_ref<const std::string&>();
  const std::string& kind = (*block)["type"].get_ref<const std::string&>();
  if (type == "text_delta") {
    EXPECT_EQ(kind, "text");
    (*block)["text"].get_ref<std::string&>() += delta["text"].get<std::string>();
  } else if (type == "thinking_delta") {
    EXPECT_EQ(kind, "thinking");
    EXPECT_EQ((*block)["signature"], "") << "the signature is the last of its block";
    (*block)["thinking"].get_ref<std::string&>() += delta["thinking"].get<std::string>();
  } else if (type == "signature_delta") {
    EXPECT_EQ(kind, "thinking");
    (*block)["signature"] = delta["signature"];
  } else {
    EXPECT_EQ(type, "input_json_delta");
    EXPECT_EQ(kind, "tool_use");
    *input += delta["partial_json"].get<std::string>();
  }
}

// The message that the official client makes of a stream. Its rules: message_start first; blocks
// numbered from 0, each closed before the next one opens, and only deltas of its kind; then
// message_delta, whose counts take the place of those before; message_stop last.
json Rebuild(const std::vector<json>& events) {
  EXPECT_GE(events.size(), 3u);
  EXPECT_EQ(events[0]["type"], "message_start");
  EXPECT_EQ(events[events.size() - 2]["type"], "message_delta");
  EXPECT_EQ(events.back(), json({{"type", "message_stop"}}));
  json message = events[0]["message"];
  EXPECT_EQ(message["content"], json::array());
  EXPECT_EQ(message["stop_reason"], nullptr);
  bool open = false;
  std::string input;
  for (size_t i = 1; i + 2 < events.size(); ++i) {
    const json& event = events[i];
    const std::string type = event["type"];
    if (type == "content_block_start") {
      EXPECT_FALSE(open);
      EXPECT_EQ(event["index"], message["content"].size());
      message["content"].push_back(event["content_block"]);
      open = true;
      input.clear();
      continue;
    }
    EXPECT_TRUE(open) << event;
    EXPECT_EQ(event["index"], message["content"].size() - 1);
    json& block = message["content"].back();
    if (type == "content_block_delta") {
      AddDelta(event["delta"], &input, &block);
    } else {
      EXPECT_EQ(type, "content_block_stop");
      if (!input.empty()) block["input"] = json::parse(input, nullptr, false);
      open = false;
    }
  }
  EXPECT_FALSE(open);
  const json& last = events[events.size() - 2];
  message.update(last["delta"]);
  message["usage"].update(last["usage"]);
  return message;
}

// Collected and streamed, which are the same.
json Reply(const Events& events, MessagesReplyOptions options = {.max_tokens = 100}) {
  const json collected = json::parse(CollectText(events, options));
  EXPECT_EQ(collected, Rebuild(Stream(events, options)));
  return collected;
}

json Thinking(const std::string& text) {
  return {{"type", "thinking"}, {"thinking", text}, {"signature", kSignature}};
}

json TextBlock(const std::string& text) { return {{"type", "text"}, {"text", text}}; }

TEST(MessagesReply, AMessage) {
  EXPECT_EQ(
      CollectText(Whole({Text("Hel"), Text("lo")}), {.max_tokens = 100}),
      R"({"id":"msg_r1","type":"message","role":"assistant","model":"m","stop_reason":"end_turn",)"
      R"("stop_sequence":null,"usage":{"input_tokens":14,"cache_creation_input_tokens":0,)"
      R"("cache_read_input_tokens":16,"output_tokens":20,"attention":{"mode":"full","budget":0,)"
      R"("sparse_steps":0,"dense_steps":0}},"content":[{"type":"text","text":"Hello"}]})");
}

TEST(MessagesReply, AStream) {
  const std::vector<json> events = Stream(Whole({Text("Hel"), Text("lo")}), {.max_tokens = 100});
  ASSERT_EQ(events.size(), 7u);
  EXPECT_EQ(events[0]["message"],
            json::parse(R"({"id": "msg_r1", "type": "message", "role": "assistant", "model": "m",
                "content": [], "stop_reason": null, "stop_sequence": null,
                "usage": {"input_tokens": 30, "cache_creation_input_tokens": 0,
                          "cache_read_input_tokens": 0, "output_tokens": 0}})"))
      << "how much was cached is not known yet";
  EXPECT_EQ(events[1], json::parse(R"({"type": "content_block_start", "index": 0,
                                       "content_block": {"type": "text", "text": ""}})"));
  EXPECT_EQ(events[2], json::parse(R"({"type": "content_block_delta", "index": 0,
                                       "delta": {"type": "text_delta", "text": "Hel"}})"));
  EXPECT_EQ(events[4], json::parse(R"({"type": "content_block_stop", "index": 0})"));
  EXPECT_EQ(events[5]["delta"],
            json::parse(R"({"stop_reason": "end_turn", "stop_sequence": null})"));
  EXPECT_EQ(events[5]["usage"]["input_tokens"], 14);
  EXPECT_EQ(events[5]["usage"]["cache_read_input_tokens"], 16);
  EXPECT_EQ(events[5]["usage"]["output_tokens"], 20);
}

TEST(MessagesReply, BlocksComeInTheirOrder) {
  const json message = Reply(
      Whole({Reasoning("I need "), Reasoning("it."), Text("One "), Text("moment."),
             Call(0, "", "c0", "get_weather"), Call(0, R"({"b": "Z)"), Call(0, R"(", "a": 1})"),
             Call(1, "{}", "c1", "now"), Text("Done?"), Reasoning("Hm.")},
            v1::FINISH_REASON_TOOL_CALLS));
  EXPECT_EQ(message["content"],
            json({Thinking("I need it."),
                  TextBlock("One moment."),
                  {{"type", "tool_use"},
                   {"id", "c0"},
                   {"name", "get_weather"},
                   {"input", {{"b", "Z"}, {"a", 1}}}},
                  {{"type", "tool_use"}, {"id", "c1"}, {"name", "now"}, {"input", json::object()}},
                  TextBlock("Done?"),
                  Thinking("Hm.")}));
  EXPECT_EQ(message["stop_reason"], "tool_use");
}

// What a service that merges events says, and one that answers in one piece.
TEST(MessagesReply, OneDeltaWithEverything) {
  v1::GenerateResponse event = Text("Text.");
  event.mutable_delta()->set_reasoning("Thought.");
  AddCall(0, "{}", "c0", "f", &event);
  AddCall(1, R"({"x":)", "c1", "g", &event);
  AddCall(1, "2}", "", "", &event);
  const json content = Reply(Whole({event}))["content"];
  ASSERT_EQ(content.size(), 4u);
  EXPECT_EQ(content[0], Thinking("Thought."));
  EXPECT_EQ(content[1], TextBlock("Text."));
  EXPECT_EQ(content[2]["id"], "c0");
  EXPECT_EQ(content[3]["input"], json({{"x", 2}}));
}

TEST(MessagesReply, WhiteSpaceMakesNoBlocks) {
  const json message = Reply(Whole({Reasoning("\n"), Text("\n\n"), Call(0, "{}", "c0", "f"),
                                    Text("\n"), Call(1, "{}", "c1", "f"), Text(" \n")}));
  ASSERT_EQ(message["content"].size(), 2u);
  EXPECT_EQ(message["content"][0]["type"], "tool_use");
  EXPECT_EQ(message["content"][1]["type"], "tool_use");
  EXPECT_EQ(Reply(Whole({Text(" "), Text("\n"), Text(" Hi "), Text("\n")}))["content"],
            json({TextBlock(" \n Hi \n")}))
      << "but in a text it stays";
  EXPECT_EQ(Reply(Whole({Text("\n"), Text(" ")}))["content"], json({TextBlock("\n ")}))
      << "also where it is all there is";
  EXPECT_EQ(Reply(Whole({Reasoning("\n"), Text("Hi")}))["content"], json({TextBlock("Hi")}));
  EXPECT_EQ(Reply(Whole({Reasoning(" ")}))["content"], json::array());
  EXPECT_EQ(Reply(Whole({}))["content"], json::array());
}

TEST(MessagesReply, WhyItStopped) {
  const auto stop = [](v1::FinishReason reason, const std::string& stop_string,
                       uint32_t completion_tokens, const Events& content = {Text("Hi")}) {
    const json message = Reply(Whole(content, reason, stop_string, completion_tokens));
    return std::pair(message["stop_reason"], message["stop_sequence"]);
  };
  const Events call = {Text("Hi"), Call(0, "{}", "c", "f")};
  EXPECT_EQ(stop(v1::FINISH_REASON_STOP, "", 20), std::pair(json("end_turn"), json(nullptr)));
  EXPECT_EQ(stop(v1::FINISH_REASON_STOP, "END", 20), std::pair(json("stop_sequence"), json("END")));
  EXPECT_EQ(stop(v1::FINISH_REASON_LENGTH, "", 100), std::pair(json("max_tokens"), json(nullptr)));
  EXPECT_EQ(stop(v1::FINISH_REASON_LENGTH, "", 20).first, "model_context_window_exceeded")
      << "there was no room for all that was asked for";
  EXPECT_EQ(stop(v1::FINISH_REASON_TOOL_CALLS, "", 20, call).first, "tool_use");
  EXPECT_EQ(stop(v1::FINISH_REASON_STOP, "", 20, call).first, "tool_use")
      << "a call that had to be made";
  EXPECT_EQ(stop(v1::FINISH_REASON_LENGTH, "", 100, call).first, "max_tokens");
}

TEST(MessagesReply, ACallThatWasCutOffHasNoInput) {
  const Events events = Whole({Call(0, R"({"city": "Zü)", "c", "f")}, v1::FINISH_REASON_LENGTH);
  const json whole = json::parse(CollectText(events, {.max_tokens = 20}));
  EXPECT_EQ(whole["content"][0]["input"], json::object());
  EXPECT_EQ(whole["stop_reason"], "max_tokens");
  for (const char* text : {"", "null", "[1]", "5", R"({"a": 1}})", "{\"a\": \"\xff\"}"}) {
    const json odd = json::parse(CollectText(Whole({Call(0, text, "c", "f")}), {}));
    EXPECT_EQ(odd["content"][0]["input"], json::object()) << text;
  }
}

TEST(MessagesReply, InputIsAsTheModelWroteIt) {
  const std::string body =
      CollectText(Whole({Call(0, R"( {"z": 1.50, "a": 12345678901234567890123} )", "c", "f")}), {});
  EXPECT_THAT(body, ::testing::HasSubstr(R"("input":{"z": 1.50, "a": 12345678901234567890123}})"));
}

TEST(MessagesReply, ThoughtsThatTheClientDoesNotWant) {
  const json content = Reply(Whole({Reasoning("Secret."), Text("Hi")}),
                             {.show_thinking = false, .max_tokens = 100})["content"];
  EXPECT_EQ(content, json({Thinking(""), TextBlock("Hi")}));
}

TEST(MessagesReply, ThoughtsAreCounted) {
  Events events = Whole({Reasoning("Hm."), Text("Hi")});
  events.back().mutable_usage()->set_reasoning_tokens(3);
  EXPECT_EQ(Reply(events)["usage"]["output_tokens_details"], json({{"thinking_tokens", 3}}));
}

TEST(MessagesReply, AServiceThatBreaksTheContract) {
  for (const bool stream : {false, true}) {
    const MessagesReplyOptions options = {.stream = stream, .max_tokens = 100};
    std::unique_ptr<ApiReply> reply;
    if (stream) {
      reply = std::make_unique<StreamedMessage>(options, kIdentity);
    } else {
      reply = std::make_unique<CollectedMessage>(options, kIdentity);
    }
    std::string out;
    v1::GenerateResponse second = Text("Hi");
    second.mutable_delta()->set_index(1);
    EXPECT_EQ(reply->OnEvent(0, second, &out).code(), absl::StatusCode::kInternal);
    EXPECT_EQ(reply->OnEvent(1, Text("Hi"), &out).code(), absl::StatusCode::kInternal);
    EXPECT_TRUE(reply->OnEvent(0, v1::GenerateResponse(), &out).ok()) << "of newer services";
    EXPECT_TRUE(reply->OnEvent(0, Call(3, "{}"), &out).ok()) << "a piece of no call";
    EXPECT_EQ(reply->Finish(&out).code(), absl::StatusCode::kInternal);
    EXPECT_TRUE(reply->OnEvent(0, Finish(v1::FINISH_REASON_STOP), &out).ok());
    EXPECT_EQ(reply->Finish(&out).code(), absl::StatusCode::kInternal) << "usage is missing";
    EXPECT_TRUE(reply->OnEvent(0, Usage(), &out).ok());
    EXPECT_TRUE(reply->Finish(&out).ok());
  }
}

TEST(MessagesReply, AStreamThatBreaksOff) {
  StreamedMessage reply({.stream = true}, kIdentity);
  std::string out;
  reply.Fail(reply.ErrorOf(absl::UnavailableError("the answer was cut short")), &out);
  EXPECT_EQ(out,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\","
            "\"message\":\"the answer was cut short\"},\"request_id\":\"r1\"}\n\n");
}

TEST(MessagesReply, BytesThatAreNoUtf8DoNotBreakTheJson) {
  EXPECT_EQ(Reply(Whole({Text("a\xffz")}))["content"], json({TextBlock("a\xEF\xBF\xBDz")}));
}

}  // namespace
}  // namespace tidal
