// How the served model writes tool calls and reasoning: found at the start, used by every chat.
#ifndef TIDAL_SERVER_GENERATION_REPLY_FORMATS_H_
#define TIDAL_SERVER_GENERATION_REPLY_FORMATS_H_

#include <string>

#include "absl/status/statusor.h"
#include "server/reply/marker_matcher.h"
#include "server/reply/reply_format.h"
#include "server/text/chat_template.h"
#include "server/text/tokenizer.h"

namespace tidal {

struct ReplyFormats {
  const CallFormat* calls = nullptr;           // null: not known
  const ReasoningFormat* reasoning = nullptr;  // null: not known
  SpecialMarkers special;                      // their markers that are special tokens
  std::string reason;                          // for the log: how they were found

  std::string calls_name() const { return calls == nullptr ? "" : calls->name; }
  std::string reasoning_name() const { return reasoning == nullptr ? "" : reasoning->name; }
};

struct ReplyFormatNames {
  // vLLM's names; "auto": what the chat template shows; "none": replies are text.
  std::string calls = "auto", reasoning = "auto";
};

// `chat_template`: null where the model has none. INVALID_ARGUMENT "tool_call_parser: must be ...".
absl::StatusOr<ReplyFormats> FindReplyFormats(const ReplyFormatNames& names,
                                              const ChatTemplate* chat_template,
                                              const Tokenizer& tokenizer);

}  // namespace tidal

#endif  // TIDAL_SERVER_GENERATION_REPLY_FORMATS_H_
