#include "server/anthropic/messages_json.h"

#include "nlohmann/json.hpp"

namespace tidal {

nlohmann::ordered_json EmptyBlockJson(BlockKind kind, const std::string& id,
                                      const std::string& name) {
  switch (kind) {
    case BlockKind::kThinking:
      return {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}};
    case BlockKind::kText:
      return {{"type", "text"}, {"text", ""}};
    case BlockKind::kToolUse:
      return {{"type", "tool_use"},
              {"id", id},
              {"name", name},
              {"input", nlohmann::ordered_json::object()}};
  }
  return nullptr;
}

}  // namespace tidal
