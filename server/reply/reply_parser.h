// A model's reply to its parts as it comes: reasoning, content, calls of tools.
#ifndef TIDAL_SERVER_REPLY_REPLY_PARSER_H_
#define TIDAL_SERVER_REPLY_REPLY_PARSER_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/reply/argument_types.h"
#include "server/reply/call_reader.h"
#include "server/reply/marker_matcher.h"
#include "server/reply/piece_writer.h"
#include "server/reply/reply_format.h"
#include "server/reply/reply_piece.h"

namespace tidal {

struct ReplyParserOptions {
  // Null: none are looked for, and their markers are content.
  const CallFormat* calls = nullptr;
  const ReasoningFormat* reasoning = nullptr;
  // The prompt ends inside reasoning (PromptEndsInReasoning() in detect_format.h).
  bool starts_in_reasoning = false;
  // Of the tools offered; null: all arguments written as raw text are strings. Outlives the parser.
  const ArgumentTypes* types = nullptr;
  // Markers that are special tokens: only AppendSpecialToken() gives these.
  SpecialMarkers special;
  // Special tokens that are no markers, or stand where they mean nothing, are text.
  bool keep_special_tokens = false;
  RandomCharacters random;
};

// Joined by kind and call, the pieces do not depend on where the text is cut. A call may come with
// a name that no tool has; what makes no call is content, complete and with its markers.
//
// Nothing waits for the end. Held back is
//   what may become a marker          at most its length
//   space that may come to nothing    PieceWriter::kMaxHeldSpace
//   a call until it is sure to be     the name, and what lies before the arguments; kMaxHeld. Past
//   one                               that it is content
//   a raw value that may be JSON      RawValue::kMaxHeld
//
// After call number PieceWriter::kMaxCalls the rest is content, as is what follows arguments that
// make no sense or nest deeper than JsonScanner::kMaxDepth. Not thread-safe.
class ReplyParser : private CallSink {
 public:
  static constexpr size_t kMaxHeld = 64 << 10;

  explicit ReplyParser(ReplyParserOptions options);
  ReplyParser(const ReplyParser&) = delete;
  ReplyParser& operator=(const ReplyParser&) = delete;

  // Each appends what has become clear. `text`: whole code points, of ordinary tokens.
  void AppendText(std::string_view text, std::vector<ReplyPiece>* out);
  // A special token, as it is written.
  void AppendSpecialToken(std::string_view token, std::vector<ReplyPiece>* out);
  // No more comes. Open calls end with what came of them.
  void Finish(std::vector<ReplyPiece>* out);

  // Inside of reasoning, so that its tokens can be counted.
  bool in_reasoning() const { return phase_ == Phase::kReasoning; }
  size_t held_bytes() const;

 private:
  enum class Phase { kContent, kReasoning, kCalls, kRest };

  void Byte(char c);
  void Text(std::string_view text);
  void Token(std::string_view token);
  void ContentByte(char c);
  void ReasoningByte(char c);
  void CallByte(char c);
  void FlushContent(bool all);
  bool CountsInContent(std::string_view marker) const;
  bool CountsInReasoning(std::string_view marker) const;
  void ContentMarker(const std::string& marker);
  void ReasoningMarker(const std::string& marker);
  void StartReasoning(std::string_view marker);
  void StartCalls(std::string_view opening);
  void Reject(size_t unread);
  bool IsMarkerOfCalls(std::string_view token) const;

  bool BeginCall(std::string_view written) override;
  void Arguments(std::string_view json) override;
  void EndCall(bool broken_off) override;
  void CloseArguments(std::string_view json) override;
  void SkipBytes() override;

  const ReplyParserOptions options_;
  std::vector<std::string> opens_, call_markers_, reasoning_starts_, reasoning_ends_;
  MarkerMatcher content_, reasoning_;
  PieceWriter writer_;
  std::unique_ptr<CallReader> reader_;

  Phase phase_ = Phase::kContent;
  std::string reasoning_end_;  // that ends this reasoning; empty: any
  // Of a block of calls, what is in none: content, if the block turns out to be none.
  std::string undecided_;
  bool too_many_calls_ = false;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_REPLY_REPLY_PARSER_H_
