// How a model writes its replies, as its chat template shows.
#ifndef TIDAL_SERVER_REPLY_DETECT_FORMAT_H_
#define TIDAL_SERVER_REPLY_DETECT_FORMAT_H_

#include <string>
#include <string_view>

#include "server/reply/marker_matcher.h"
#include "server/reply/reply_format.h"
#include "server/text/chat_template.h"
#include "server/text/tokenizer.h"

namespace tidal {

struct DetectedFormat {
  const CallFormat* calls = nullptr;           // null: none was found
  const ReasoningFormat* reasoning = nullptr;  // null: none was found
  std::string reason;                          // for the log: what each was found by
};

// A conversation with a tool, a call of it and its result. Templates may refuse it; some want the
// call's arguments as text.
ChatTemplateInput ProbeConversation(bool arguments_as_text = false);

// `probe`: that conversation, rendered; empty where the template refused it. `source`: the
// template's text, where families leave their markers even if the probe did not bring them out.
// Of the families with markers in the probe it is the first whose parser finds the call there; if
// none does, the first one, and the reason says so.
DetectedFormat DetectReplyFormat(std::string_view probe, std::string_view source);

// Renders the probe itself.
DetectedFormat DetectReplyFormat(const ChatTemplate& chat_template);

// The formats' markers that are special tokens of this tokenizer; either format may be null.
SpecialMarkers FindSpecialMarkers(const Tokenizer& tokenizer, const CallFormat* calls,
                                  const ReasoningFormat* reasoning);

// Whether what the model writes behind this prompt is reasoning: the prompt's last words open it.
// A start marker somewhere before counts for nothing; a user may have written it.
bool PromptEndsInReasoning(std::string_view prompt, const ReasoningFormat& format);

}  // namespace tidal

#endif  // TIDAL_SERVER_REPLY_DETECT_FORMAT_H_
