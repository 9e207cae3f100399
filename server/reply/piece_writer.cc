#include "server/reply/piece_writer.h"

#include <utility>

#include "server/reply/characters.h"

namespace tidal {
namespace {

constexpr std::string_view kKimiPrefix = "functions.";

// "functions.NAME:0" without its ends; `has_number`: that at the end is there.
std::string_view KimiName(std::string_view written, bool* has_number) {
  if (written.size() > kKimiPrefix.size() && written.starts_with(kKimiPrefix)) {
    written.remove_prefix(kKimiPrefix.size());
  }
  const size_t colon = written.rfind(':');
  *has_number = colon != std::string_view::npos && colon > 0 && colon + 1 < written.size() &&
                written.find_first_not_of("0123456789", colon + 1) == std::string_view::npos;
  return *has_number ? written.substr(0, colon) : written;
}

}  // namespace

void PieceWriter::Content(std::string_view text) {
  for (const char c : text) {
    if (IsJsonSpace(c)) {
      // Behind reasoning, and behind calls that no content comes before, it will be dropped.
      if (before_ == Before::kReasoning || (before_ == Before::kCall && !has_content_)) continue;
      space_ += c;
      if (space_.size() < kMaxHeldSpace) continue;
    } else {
      space_ += c;
    }
    Append(ReplyPieceKind::kContent, space_);
    space_.clear();
    before_ = Before::kContent;
    has_content_ = true;
  }
}

void PieceWriter::Reasoning(std::string_view text) {
  for (const char c : text) {
    if (IsJsonSpace(c)) {
      if (reasoning_empty_) continue;
      space_ += c;
      if (space_.size() < kMaxHeldSpace) continue;
    } else {
      space_ += c;
    }
    Append(ReplyPieceKind::kReasoning, space_);
    space_.clear();
    reasoning_empty_ = false;
  }
}

void PieceWriter::BeginReasoning() {
  space_.clear();
  before_ = Before::kReasoning;
}

void PieceWriter::EndReasoning() {
  space_.clear();
  reasoning_empty_ = true;
}

bool PieceWriter::BeginCall(std::string_view written) {
  if (calls_ >= kMaxCalls) return false;
  if (!has_content_) space_.clear();
  in_call_ = true;
  before_ = Before::kCall;
  ReplyPiece piece{.kind = ReplyPieceKind::kCallBegin, .call_index = calls_};
  piece.name = written;
  switch (ids_) {
    case CallIds::kCall24:
      piece.id = "call_" + random_(24);
      break;
    case CallIds::kRandom9:
      piece.id = random_(9);
      break;
    case CallIds::kWritten: {
      bool has_number = false;
      piece.name = KimiName(written, &has_number);
      piece.id = has_number ? std::string(written)
                            : std::string(kKimiPrefix) + piece.name + ':' + std::to_string(calls_);
      break;
    }
  }
  ++calls_;
  out_->push_back(std::move(piece));
  return true;
}

void PieceWriter::Arguments(std::string_view json) {
  Append(ReplyPieceKind::kCallArguments, json);
  out_->back().call_index = calls_ - 1;
}

void PieceWriter::EndCall(bool broken_off) {
  in_call_ = false;
  out_->push_back(
      {.kind = ReplyPieceKind::kCallEnd, .call_index = calls_ - 1, .broken_off = broken_off});
}

void PieceWriter::Finish() {
  if (!space_.empty() && (before_ == Before::kContent || before_ == Before::kNothing)) {
    Append(ReplyPieceKind::kContent, space_);
  }
  space_.clear();
}

void PieceWriter::Append(ReplyPieceKind kind, std::string_view text) {
  if (out_->empty() || out_->back().kind != kind) out_->push_back({.kind = kind});
  out_->back().text += text;
}

}  // namespace tidal
