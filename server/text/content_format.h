// How a chat template reads a message's content.
#ifndef TIDAL_SERVER_TEXT_CONTENT_FORMAT_H_
#define TIDAL_SERVER_TEXT_CONTENT_FORMAT_H_

#include "server/text/jinja/ast.h"

namespace tidal {

enum class ContentFormat {
  kString,  // as one string
  kParts,   // as a list of {"type": "text", "text": ...}
};

// kParts where the template has a loop over the content of a message that a loop over `messages`
// gave it; the rule that vLLM goes by.
ContentFormat DetectContentFormat(const jinja::Block& block);

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_CONTENT_FORMAT_H_
