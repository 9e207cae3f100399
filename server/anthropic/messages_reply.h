// From the events of a call to a message: one JSON object, or server-sent events.
#ifndef TIDAL_SERVER_ANTHROPIC_MESSAGES_REPLY_H_
#define TIDAL_SERVER_ANTHROPIC_MESSAGES_REPLY_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "nlohmann/json_fwd.hpp"
#include "server/anthropic/content_blocks.h"
#include "server/anthropic/messages_request.h"
#include "server/openai/api_reply.h"

namespace tidal {

// What both kinds of reply keep.
class MessagesReply : public ApiReply {
 public:
  ApiError ErrorOf(const absl::Status& status) const override;

 protected:
  MessagesReply(MessagesReplyOptions options, const ReplyIdentity& identity);

  // INTERNAL where the event does not fit the request: the service broke the contract.
  absl::Status Accept(size_t call, const v1::GenerateResponse& event);
  // INTERNAL while the output has not finished or the usage has not come.
  absl::Status CheckComplete() const;

  // The message but for its content; without a reason to stop before CheckComplete().
  nlohmann::ordered_json MessageJson(bool complete, bool called) const;
  nlohmann::ordered_json UsageJson() const;
  // Why it ended, and by which stop sequence, into `json`.
  void AddStopReason(bool called, nlohmann::ordered_json* json) const;

  const MessagesReplyOptions options_;

 private:
  const std::string id_;
  std::string model_;
  v1::Usage usage_;
  v1::OutputFinish finish_;
  bool finished_ = false;
  bool has_usage_ = false;
};

// A message in one piece.
class CollectedMessage : public MessagesReply, private BlockListener {
 public:
  CollectedMessage(MessagesReplyOptions options, const ReplyIdentity& identity);

  absl::Status OnEvent(size_t call, const v1::GenerateResponse& event, std::string* out) override;
  absl::Status Finish(std::string* out) override;
  void Fail(const ApiError& error, std::string* out) override;

 private:
  struct Block {
    BlockKind kind;
    std::string id, name, text;
  };
  void Open(BlockKind kind, const std::string& id, const std::string& name) override;
  void Append(absl::string_view piece) override;
  void Close() override;
  std::string BlockText(const Block& block) const;  // as JSON

  ContentBlocks content_;
  std::vector<Block> blocks_;
};

// A message that is streamed.
class StreamedMessage : public MessagesReply, private BlockListener {
 public:
  StreamedMessage(MessagesReplyOptions options, const ReplyIdentity& identity);

  absl::Status OnEvent(size_t call, const v1::GenerateResponse& event, std::string* out) override;
  absl::Status Finish(std::string* out) override;
  void Fail(const ApiError& error, std::string* out) override;

 private:
  void Open(BlockKind kind, const std::string& id, const std::string& name) override;
  void Append(absl::string_view piece) override;
  void Close() override;
  void AppendDelta(nlohmann::ordered_json delta);
  void AppendEvent(const char* type, const nlohmann::ordered_json& fields);

  const std::string request_id_;
  ContentBlocks content_;
  std::string* out_ = nullptr;  // of the call in progress
  BlockKind kind_ = BlockKind::kText;
  size_t num_blocks_ = 0;  // the last of them is the open one
};

}  // namespace tidal

#endif  // TIDAL_SERVER_ANTHROPIC_MESSAGES_REPLY_H_
