// What a reply is made of.
#ifndef TIDAL_SERVER_REPLY_REPLY_PIECE_H_
#define TIDAL_SERVER_REPLY_REPLY_PIECE_H_

#include <string>

namespace tidal {

enum class ReplyPieceKind {
  kReasoning,
  kContent,
  kCallBegin,      // id and name, whole
  kCallArguments,  // a part of the arguments' JSON
  kCallEnd,
};

// Calls do not overlap: between the beginning and the end of one there is nothing else.
struct ReplyPiece {
  ReplyPieceKind kind;
  std::string text = {};    // never empty where there is one; whole code points
  int call_index = -1;      // of calls: 0, 1, ...
  std::string id = {};      // kCallBegin
  std::string name = {};    // kCallBegin
  bool broken_off = false;  // kCallEnd: the text ended, or made no sense, before the arguments did

  bool operator==(const ReplyPiece&) const = default;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_REPLY_REPLY_PIECE_H_
