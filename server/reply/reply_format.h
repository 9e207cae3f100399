// How families of models write calls of tools and reasoning into a reply: as data, one entry each.
#ifndef TIDAL_SERVER_REPLY_REPLY_FORMAT_H_
#define TIDAL_SERVER_REPLY_REPLY_FORMAT_H_

#include <string>
#include <string_view>
#include <vector>

namespace tidal {

enum class CallSyntax {
  kJson,    // objects with a name and arguments
  kNamed,   // a name between markers, then an object with the arguments
  kTagged,  // a name, and for each argument a key and a raw value, between tags
  kPython,  // a list of calls as Python writes them
};

enum class CallIds {
  kCall24,   // "call_" and 24 random characters
  kRandom9,  // 9 random characters, as Mistral's templates demand
  kWritten,  // the model's own: "functions.NAME:0"; the name is in it
};

// Where a marker is empty, the family has none. No marker of a format is the beginning of another
// one that may come at the same place.
struct CallFormat {
  std::string name;  // vLLM's --tool-call-parser
  CallSyntax syntax;
  // Any of them begins a block of calls, any of `closes` ends it; the closing one may be missing.
  std::vector<std::string> opens = {}, closes = {};
  // A block that has no marker may begin with this character, where no content came before.
  char bare = 0;
  CallIds ids = CallIds::kCall24;

  // kJson: calls may lie, or (array_only) have to lie, in an array. Others follow each other, with
  // a comma or semicolon between or nothing.
  bool array = false, array_only = false;

  // kNamed: call_begin, [type type_end,] name, [id_begin id,] name_end, object, call_end.
  std::string call_begin = {}, type_end = {}, id_begin = {}, call_end = {};
  std::vector<std::string> name_ends = {};
  bool fenced = false;            // the object may lie in a code fence
  bool object_ends_name = false;  // the object may follow the name at once
  bool or_json_array = false;     // an array, as of kJson, in place of a name

  // kTagged: name_begin, name, name_end, then [key_begin, key, key_end, value_begin, value,
  // value_end] for each argument, then call_end. A name without name_end ends at space or a marker.
  std::string name_begin = {}, name_end = {}, key_begin = {}, key_end = {};
  std::string value_begin = {}, value_end = {};
};

struct ReasoningMarkers {
  std::string start, end;
};

// Reasoning starts where no content came since the beginning or a call.
struct ReasoningFormat {
  std::string name;  // vLLM's --reasoning-parser
  std::vector<ReasoningMarkers> markers;
  bool starts_open = false;    // the reply begins inside, be there a start marker or not
  bool ends_at_calls = false;  // the start of a call ends it; else calls in it are reasoning
};

// By vLLM's name of the parser; null when there is none. They live for ever.
const CallFormat* FindCallFormat(std::string_view name);
const ReasoningFormat* FindReasoningFormat(std::string_view name);

// All of them, aliases included, for messages and tests.
const std::vector<CallFormat>& CallFormats();
const std::vector<ReasoningFormat>& ReasoningFormats();

// Every marker of the format that may come in a reply.
std::vector<std::string> MarkersOf(const CallFormat& format);

}  // namespace tidal

#endif  // TIDAL_SERVER_REPLY_REPLY_FORMAT_H_
