// A model's output as the content blocks of a message: one after the other, never two open at once.
#ifndef TIDAL_SERVER_ANTHROPIC_CONTENT_BLOCKS_H_
#define TIDAL_SERVER_ANTHROPIC_CONTENT_BLOCKS_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "proto/tidal/v1/inference.pb.h"

namespace tidal {

enum class BlockKind { kThinking, kText, kToolUse };

// Hears of the blocks in their order: Open(), Append() any number of times, Close().
class BlockListener {
 public:
  virtual ~BlockListener() = default;
  // `id` and `name`: of a tool use.
  virtual void Open(BlockKind kind, const std::string& id, const std::string& name) = 0;
  // More of the open block: thoughts, text, or the JSON text of a tool's input.
  virtual void Append(absl::string_view piece) = 0;
  virtual void Close() = 0;
};

// Streamed and collected replies both come from here, so that they have the same blocks. Thoughts
// and text begin a block with the first character that is no white space, so that line breaks
// between calls make none. Not thread-safe.
class ContentBlocks {
 public:
  // `listener` outlives it.
  explicit ContentBlocks(BlockListener* listener) : listener_(listener) {}

  void Add(const v1::OutputDelta& delta);
  // No more comes. White space that is all there was is text after all.
  void Finish();

  bool has_called() const { return has_called_; }

 private:
  void AddText(BlockKind kind, const std::string& piece);
  void AddCall(const v1::ToolCallDelta& piece);
  void Open(BlockKind kind, const std::string& id = "", const std::string& name = "");

  BlockListener* const listener_;
  std::optional<BlockKind> open_;
  bool any_ = false;  // there has been a block
  bool has_called_ = false;
  std::string held_;  // white space that no block has begun with
  BlockKind held_kind_ = BlockKind::kText;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_ANTHROPIC_CONTENT_BLOCKS_H_
