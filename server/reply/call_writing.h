// How a family writes a block of calls where it has to: of all that its reader takes, what its
// models write themselves.
#ifndef TIDAL_SERVER_REPLY_CALL_WRITING_H_
#define TIDAL_SERVER_REPLY_CALL_WRITING_H_

#include <string>

#include "server/reply/marker_matcher.h"
#include "server/reply/reply_format.h"

namespace tidal {

enum class ArgumentWriting {
  kJson,            // {"city": "Paris"}
  kQwenTags,        // <parameter=city>\nParis\n</parameter>
  kGlmTags,         // <arg_key>city</arg_key>\n<arg_value>Paris</arg_value>
  kPythonKeywords,  // city="Paris"
};

// block_begin, then calls with `between` between them, then block_end. A call is before_name, the
// name, after_name, the arguments, after_arguments. Texts may hold markers.
struct CallWriting {
  std::string block_begin = {}, before_name = {}, after_name = {}, after_arguments = {};
  std::string between = {}, block_end = {};
  ArgumentWriting arguments = ArgumentWriting::kJson;
  bool numbered = false;  // after_name begins with the call's number

  // What begins every block and nothing else; empty where a block may begin like any text.
  std::string trigger = {};
};

// `special`: the markers that are special tokens of the model, which tell what generation of a
// family it is.
CallWriting WritingOf(const CallFormat& format, const SpecialMarkers& special);

}  // namespace tidal

#endif  // TIDAL_SERVER_REPLY_CALL_WRITING_H_
