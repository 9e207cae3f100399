// The JSON objects that streamed and collected messages share.
#ifndef TIDAL_SERVER_ANTHROPIC_MESSAGES_JSON_H_
#define TIDAL_SERVER_ANTHROPIC_MESSAGES_JSON_H_

#include <string>

#include "nlohmann/json_fwd.hpp"
#include "server/anthropic/content_blocks.h"

namespace tidal {

// What clients send back with a model's thoughts. Ours are text, and nothing in them is to be
// verified: it is the same for all of them, and not looked at when it comes.
inline constexpr const char* kSignature = "dGlkYWxzZXJ2ZQ==";

// A block without what Append() adds to it: empty text, no signature, an input of {}.
nlohmann::ordered_json EmptyBlockJson(BlockKind kind, const std::string& id,
                                      const std::string& name);

}  // namespace tidal

#endif  // TIDAL_SERVER_ANTHROPIC_MESSAGES_JSON_H_
