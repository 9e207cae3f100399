// Writes a reply's pieces: joins neighbours, drops space that is only punctuation, numbers calls.
#ifndef TIDAL_SERVER_REPLY_PIECE_WRITER_H_
#define TIDAL_SERVER_REPLY_PIECE_WRITER_H_

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/reply/reply_format.h"
#include "server/reply/reply_piece.h"

namespace tidal {

// That many random characters of [A-Za-z0-9].
using RandomCharacters = std::function<std::string(int count)>;

// Space is held until it is known what follows it, up to a bound. Dropped is what lies around
// reasoning, and around calls unless there is content on both sides. Not thread-safe.
class PieceWriter {
 public:
  static constexpr size_t kMaxHeldSpace = 4096;
  static constexpr int kMaxCalls = 128;

  PieceWriter(CallIds ids, RandomCharacters random) : ids_(ids), random_(std::move(random)) {}

  // Where pieces go until the next call of this.
  void SetOut(std::vector<ReplyPiece>* out) { out_ = out; }

  void Content(std::string_view text);
  void Reasoning(std::string_view text);
  void BeginReasoning();
  void EndReasoning();
  bool BeginCall(std::string_view written);  // false: one call too many
  void Arguments(std::string_view json);
  void EndCall(bool broken_off);
  void Finish();

  // No content since the beginning, reasoning or a call.
  bool at_head() const { return before_ != Before::kContent; }
  bool in_call() const { return in_call_; }
  // No reasoning since the beginning or the last EndReasoning().
  bool reasoning_empty() const { return reasoning_empty_; }
  size_t held_bytes() const { return space_.size(); }

 private:
  enum class Before { kNothing, kReasoning, kContent, kCall };

  void Append(ReplyPieceKind kind, std::string_view text);

  const CallIds ids_;
  const RandomCharacters random_;
  std::vector<ReplyPiece>* out_ = nullptr;
  Before before_ = Before::kNothing;
  std::string space_;
  bool has_content_ = false, reasoning_empty_ = true, in_call_ = false;
  int calls_ = 0;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_REPLY_PIECE_WRITER_H_
