// Any text as a reply of any family, whole, in pieces and with special tokens: the same parts
// however it is cut, bounded memory, and not a byte lost where nothing was a call.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "server/reply/detect_format.h"
#include "server/reply/reply_parser.h"
#include "server/text/utf8.h"

namespace {

using tidal::ReplyParser;
using tidal::ReplyPiece;
using tidal::ReplyPieceKind;

void Check(bool holds, int line = __builtin_LINE()) {
  if (holds) return;
  std::fprintf(stderr, "line %d does not hold\n", line);
  std::abort();
}

// Code points, several together where `cuts` says so. A byte of 1 and one of markers is a special
// token, so that inputs can hold some.
struct Unit {
  std::string text;
  bool special = false;
};

std::vector<Unit> Split(std::string_view text, const std::vector<std::string>& markers) {
  std::vector<Unit> units;
  while (!text.empty()) {
    const auto at = std::find_if(markers.begin(), markers.end(), [&](const std::string& marker) {
      return text[0] == '\1' && text.substr(1).starts_with(marker);
    });
    if (at != markers.end()) {
      units.push_back({*at, true});
      text.remove_prefix(1 + at->size());
      continue;
    }
    const size_t length = tidal::ReadUtf8(text).length;
    units.push_back({std::string(text.substr(0, length))});
    text.remove_prefix(length);
  }
  return units;
}

// With pieces as long as `cut` says in turn; 0 joins all text between special tokens.
std::vector<ReplyPiece> Parse(const tidal::ReplyParserOptions& options,
                              const std::vector<Unit>& units, size_t cut) {
  ReplyParser parser(options);
  std::vector<ReplyPiece> pieces;
  std::string text;
  size_t count = 0;
  for (const Unit& unit : units) {
    if (!unit.special) text += unit.text;
    if (unit.special || (cut != 0 && ++count % cut == 0)) {
      parser.AppendText(text, &pieces);
      text.clear();
    }
    if (unit.special) parser.AppendSpecialToken(unit.text, &pieces);
    Check(parser.held_bytes() <= 3 * ReplyParser::kMaxHeld);
  }
  parser.AppendText(text, &pieces);
  parser.Finish(&pieces);
  Check(parser.held_bytes() == 0);
  return pieces;
}

// Calls are whole, in order, and do not overlap.
void CheckOrder(const std::vector<ReplyPiece>& pieces) {
  int calls = 0;
  bool in_call = false;
  for (const ReplyPiece& piece : pieces) {
    switch (piece.kind) {
      case ReplyPieceKind::kCallBegin:
        Check(!in_call && piece.call_index == calls++ && !piece.name.empty() && !piece.id.empty());
        in_call = true;
        break;
      case ReplyPieceKind::kCallArguments:
      case ReplyPieceKind::kCallEnd:
        Check(in_call && piece.call_index == calls - 1);
        in_call = piece.kind == ReplyPieceKind::kCallArguments;
        break;
      default:
        Check(!in_call && piece.call_index == -1);
    }
    const bool has_text =
        piece.kind != ReplyPieceKind::kCallBegin && piece.kind != ReplyPieceKind::kCallEnd;
    Check(has_text != piece.text.empty());
    Check(!tidal::FindInvalidUtf8(piece.text).has_value());
  }
  Check(!in_call && calls <= tidal::PieceWriter::kMaxCalls);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  const auto& formats = tidal::CallFormats();
  const auto& thoughts = tidal::ReasoningFormats();
  tidal::ArgumentTypes types;
  types.AddTool("f", R"({"properties": {"i": {"type": "integer"}, "o": {"type": "object"},
                         "u": {"type": ["string", "null", "array"]}}})");
  tidal::ReplyParserOptions options;
  options.calls = data[0] % 17 == 0 ? nullptr : &formats[data[0] % formats.size()];
  options.reasoning = data[1] % 2 == 0 ? nullptr : &thoughts[data[1] / 2 % thoughts.size()];
  options.starts_in_reasoning = (data[2] & 1) != 0;
  options.keep_special_tokens = (data[2] & 2) != 0;
  options.types = &types;
  options.random = [](int count) { return std::string(count, 'x'); };
  std::vector<std::string> markers = {"<pad>", "<think>", "</think>"};
  if (options.calls != nullptr) {
    const std::vector<std::string> more = MarkersOf(*options.calls);
    markers.insert(markers.end(), more.begin(), more.end());
    if ((data[2] & 4) != 0) options.special = more;
  }
  std::string reply;
  tidal::AppendLossyUtf8({reinterpret_cast<const char*>(data) + 3, size - 3}, false, &reply);

  const std::vector<Unit> units = Split(reply, markers);
  const std::vector<ReplyPiece> whole = Parse(options, units, 0);
  CheckOrder(whole);
  // Parse() hands on one list of pieces, so neighbours are joined already.
  for (const size_t cut : {size_t{1}, size_t{2}, size_t{1} + data[2] / 8}) {
    Check(Parse(options, units, cut) == whole);
  }

  const bool plain =
      options.reasoning == nullptr &&
      std::none_of(units.begin(), units.end(), [](const Unit& u) { return u.special; });
  const bool has_call = std::any_of(whole.begin(), whole.end(), [](const ReplyPiece& piece) {
    return piece.kind == ReplyPieceKind::kCallBegin;
  });
  if (plain && !has_call) {
    std::string content;
    for (const ReplyPiece& piece : whole) content += piece.text;
    Check(content == reply);
  }
  if (options.reasoning != nullptr) (void)PromptEndsInReasoning(reply, *options.reasoning);
  (void)tidal::DetectReplyFormat(reply, reply);
  return 0;
}
