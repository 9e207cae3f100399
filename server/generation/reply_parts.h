// Takes the text of an output apart, into the fields of its deltas.
#ifndef TIDAL_SERVER_GENERATION_REPLY_PARTS_H_
#define TIDAL_SERVER_GENERATION_REPLY_PARTS_H_

#include <memory>
#include <string_view>
#include <vector>

#include "proto/tidal/v1/inference.pb.h"
#include "server/reply/argument_types.h"
#include "server/reply/reply_parser.h"

namespace tidal {

// What a request wants to be taken out of its text.
struct ReplyParsing {
  const CallFormat* calls = nullptr;           // null: calls are text
  const ReasoningFormat* reasoning = nullptr;  // null: reasoning is text
  bool starts_in_reasoning = false;            // the prompt ends inside it
  std::shared_ptr<const ArgumentTypes> types;  // of the tools offered; shared by all outputs
  SpecialMarkers special;

  bool enabled() const { return calls != nullptr || reasoning != nullptr; }
};

// Each call adds to `delta` what has become clear. Not thread-safe.
class ReplyParts {
 public:
  ReplyParts(const ReplyParsing& parsing, bool keep_special_tokens);

  void AppendText(std::string_view text, v1::OutputDelta* delta);
  void AppendSpecialToken(std::string_view token, v1::OutputDelta* delta);
  void Finish(v1::OutputDelta* delta);

  bool in_reasoning() const { return parser_.in_reasoning(); }
  bool has_called() const { return has_called_; }

 private:
  void Take(v1::OutputDelta* delta);  // the pieces that came

  const std::shared_ptr<const ArgumentTypes> types_;  // the parser's
  ReplyParser parser_;
  std::vector<ReplyPiece> pieces_;
  bool has_called_ = false;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_GENERATION_REPLY_PARTS_H_
