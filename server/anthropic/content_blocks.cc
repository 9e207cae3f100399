#include "server/anthropic/content_blocks.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace tidal {

void ContentBlocks::Add(const v1::OutputDelta& delta) {
  AddText(BlockKind::kThinking, delta.reasoning());
  AddText(BlockKind::kText, delta.text());
  for (const v1::ToolCallDelta& piece : delta.tool_calls()) AddCall(piece);
}

void ContentBlocks::Finish() {
  if (!any_ && !held_.empty() && held_kind_ == BlockKind::kText) {
    Open(BlockKind::kText);
    listener_->Append(std::exchange(held_, ""));
  }
  if (std::exchange(open_, std::nullopt)) listener_->Close();
}

void ContentBlocks::AddText(BlockKind kind, const std::string& piece) {
  if (piece.empty()) return;
  if (open_ == kind) return listener_->Append(piece);
  if (held_kind_ != kind) held_.clear();
  held_kind_ = kind;
  held_ += piece;
  if (absl::StripLeadingAsciiWhitespace(piece).empty()) return;
  const std::string text = std::exchange(held_, "");
  Open(kind);
  listener_->Append(text);
}

void ContentBlocks::AddCall(const v1::ToolCallDelta& piece) {
  if (!piece.id().empty()) {
    held_.clear();
    has_called_ = true;
    Open(BlockKind::kToolUse, piece.id(), piece.name());
  }
  if (open_ == BlockKind::kToolUse && !piece.arguments().empty()) {
    listener_->Append(piece.arguments());
  }
}

void ContentBlocks::Open(BlockKind kind, const std::string& id, const std::string& name) {
  if (open_) listener_->Close();
  open_ = kind;
  any_ = true;
  listener_->Open(kind, id, name);
}

}  // namespace tidal
