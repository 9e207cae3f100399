#include "server/generation/reply_parts.h"

#include <string>

#include "absl/random/random.h"

namespace tidal {
namespace {

std::string RandomLetters(int count) {
  static constexpr char kLetters[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  absl::BitGen random;
  std::string letters;
  for (int i = 0; i < count; ++i) {
    letters += kLetters[absl::Uniform<size_t>(random, 0, sizeof(kLetters) - 1)];
  }
  return letters;
}

ReplyParserOptions OptionsOf(const ReplyParsing& parsing, bool keep_special_tokens) {
  ReplyParserOptions options;
  options.calls = parsing.calls;
  options.reasoning = parsing.reasoning;
  options.starts_in_reasoning = parsing.starts_in_reasoning;
  options.types = parsing.types.get();
  options.special = parsing.special;
  options.keep_special_tokens = keep_special_tokens;
  options.random = RandomLetters;
  return options;
}

// The piece of the call that the delta has last; a new one where that is another.
v1::ToolCallDelta* PieceOf(uint32_t call, v1::OutputDelta* delta) {
  const int count = delta->tool_calls_size();
  if (count > 0 && delta->tool_calls(count - 1).index() == call) {
    return delta->mutable_tool_calls(count - 1);
  }
  v1::ToolCallDelta* const piece = delta->add_tool_calls();
  piece->set_index(call);
  return piece;
}

}  // namespace

ReplyParts::ReplyParts(const ReplyParsing& parsing, bool keep_special_tokens)
    : types_(parsing.types), parser_(OptionsOf(parsing, keep_special_tokens)) {}

void ReplyParts::AppendText(std::string_view text, v1::OutputDelta* delta) {
  parser_.AppendText(text, &pieces_);
  Take(delta);
}

void ReplyParts::AppendSpecialToken(std::string_view token, v1::OutputDelta* delta) {
  parser_.AppendSpecialToken(token, &pieces_);
  Take(delta);
}

void ReplyParts::Finish(v1::OutputDelta* delta) {
  parser_.Finish(&pieces_);
  Take(delta);
}

void ReplyParts::Take(v1::OutputDelta* delta) {
  for (ReplyPiece& piece : pieces_) {
    const auto call = static_cast<uint32_t>(piece.call_index);
    switch (piece.kind) {
      case ReplyPieceKind::kContent:
        delta->mutable_text()->append(piece.text);
        break;
      case ReplyPieceKind::kReasoning:
        delta->mutable_reasoning()->append(piece.text);
        break;
      case ReplyPieceKind::kCallBegin:
        has_called_ = true;
        PieceOf(call, delta)->set_id(std::move(piece.id));
        PieceOf(call, delta)->set_name(std::move(piece.name));
        break;
      case ReplyPieceKind::kCallArguments:
        PieceOf(call, delta)->mutable_arguments()->append(piece.text);
        break;
      case ReplyPieceKind::kCallEnd:
        break;
    }
  }
  pieces_.clear();
}

}  // namespace tidal
