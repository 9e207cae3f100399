// Replies to what a test compares: fed whole, cut in two anywhere, and a code point at a time.
#ifndef TIDAL_TESTS_SERVER_REPLY_REPLY_TEST_UTIL_H_
#define TIDAL_TESTS_SERVER_REPLY_REPLY_TEST_UTIL_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "server/reply/reply_parser.h"

namespace tidal {

struct FormatNames {
  std::string calls = {}, reasoning = {};
  bool starts_in_reasoning = false;
};

// "aaa...", "bbb...", ...: the ids of a test's calls.
inline RandomCharacters CountedCharacters() {
  return [next = 'a'](int count) mutable { return std::string(count, next++); };
}

inline ReplyParserOptions OptionsOf(const FormatNames& names, const ArgumentTypes* types) {
  ReplyParserOptions options;
  options.calls = FindCallFormat(names.calls);
  options.reasoning = FindReasoningFormat(names.reasoning);
  options.starts_in_reasoning = names.starts_in_reasoning;
  options.types = types;
  options.random = CountedCharacters();
  return options;
}

// Neighbours joined, as a client adds up what it gets.
inline std::vector<ReplyPiece> Joined(const std::vector<ReplyPiece>& pieces) {
  std::vector<ReplyPiece> joined;
  for (const ReplyPiece& piece : pieces) {
    const bool whole =
        piece.kind == ReplyPieceKind::kCallBegin || piece.kind == ReplyPieceKind::kCallEnd;
    EXPECT_EQ(piece.text.empty(), whole);
    if (!whole && !joined.empty() && joined.back().kind == piece.kind &&
        joined.back().call_index == piece.call_index) {
      joined.back().text += piece.text;
    } else {
      joined.push_back(piece);
    }
  }
  return joined;
}

// One line a test can read: "reasoning(...)", "text(...)", "name#id{...}", "!" where it broke off.
inline std::string Describe(const std::vector<ReplyPiece>& pieces, bool with_ids = false) {
  std::string text;
  int call = -1;
  for (const ReplyPiece& piece : Joined(pieces)) {
    switch (piece.kind) {
      case ReplyPieceKind::kReasoning:
        text += "reasoning(" + piece.text + ")";
        break;
      case ReplyPieceKind::kContent:
        text += "text(" + piece.text + ")";
        break;
      case ReplyPieceKind::kCallBegin:
        EXPECT_EQ(piece.call_index, ++call);
        text += piece.name + (with_ids ? "#" + piece.id : "");
        break;
      case ReplyPieceKind::kCallArguments:
        EXPECT_EQ(piece.call_index, call);
        text += piece.text;
        break;
      case ReplyPieceKind::kCallEnd:
        EXPECT_EQ(piece.call_index, call);
        text += piece.broken_off ? "!" : ".";
        break;
    }
  }
  return text;
}

inline std::vector<std::string> CodePoints(std::string_view text) {
  std::vector<std::string> points;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) points.emplace_back();
    points.back() += c;
  }
  return points;
}

inline std::vector<ReplyPiece> Parse(ReplyParserOptions options,
                                     const std::vector<std::string>& deltas) {
  ReplyParser parser(std::move(options));
  std::vector<ReplyPiece> pieces;
  for (const std::string& delta : deltas) {
    std::vector<ReplyPiece> some;  // a new one each time, as a stream has it
    parser.AppendText(delta, &some);
    pieces.insert(pieces.end(), some.begin(), some.end());
  }
  std::vector<ReplyPiece> rest;
  parser.Finish(&rest);
  pieces.insert(pieces.end(), rest.begin(), rest.end());
  EXPECT_EQ(parser.held_bytes(), 0u);
  return pieces;
}

// The reply's description, which no cut changes.
inline std::string ParseCut(const FormatNames& names, const std::string& reply,
                            const ArgumentTypes* types = nullptr, bool with_ids = false) {
  const std::vector<std::string> points = CodePoints(reply);
  const std::vector<ReplyPiece> whole = Joined(Parse(OptionsOf(names, types), {reply}));
  EXPECT_EQ(Joined(Parse(OptionsOf(names, types), points)), whole) << reply;
  std::string begin;
  for (const std::string& point : points) {
    begin += point;
    const std::vector<std::string> halves = {begin, reply.substr(begin.size())};
    EXPECT_EQ(Joined(Parse(OptionsOf(names, types), halves)), whole) << "cut behind: " << begin;
  }
  return Describe(whole, with_ids);
}

struct ReplyCase {
  std::string reply, expected;
};

inline void ExpectAll(const FormatNames& names, const std::vector<ReplyCase>& cases,
                      const ArgumentTypes* types = nullptr) {
  for (const ReplyCase& c : cases) {
    EXPECT_EQ(ParseCut(names, c.reply, types), c.expected) << names.calls << ": " << c.reply;
  }
}

}  // namespace tidal

#endif  // TIDAL_TESTS_SERVER_REPLY_REPLY_TEST_UTIL_H_
