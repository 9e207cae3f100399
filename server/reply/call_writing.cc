#include "server/reply/call_writing.h"

#include <utility>

#include "engine/base/check.h"

namespace tidal {
namespace {

constexpr char kObjectBegin[] = "{\"name\": \"", kArguments[] = "\", \"arguments\": ";

// [{"name": ..., "arguments": ...}, ...] behind `begin`.
CallWriting Array(std::string begin, std::string end) {
  CallWriting writing = {.before_name = kObjectBegin, .after_name = kArguments};
  writing.block_begin = begin + "[";
  writing.after_arguments = "}";
  writing.between = ", ";
  writing.block_end = "]" + end;
  writing.trigger = std::move(begin);
  return writing;
}

CallWriting Objects(const CallFormat& format) {
  if (format.opens.empty() || format.closes.empty()) {  // Llama 3, which says "parameters"
    return {.before_name = kObjectBegin,
            .after_name = "\", \"parameters\": ",
            .after_arguments = "}",
            .between = "; "};
  }
  return {.before_name = format.opens[0] + "\n" + kObjectBegin,
          .after_name = kArguments,
          .after_arguments = "}\n" + format.closes[0],
          .between = "\n",
          .trigger = format.opens[0]};
}

CallWriting JsonCallsOf(const CallFormat& format, const SpecialMarkers& special) {
  if (!format.array) return Objects(format);
  // Where there are two generations, the special token is the one that the model has.
  for (const std::string& open : format.opens) {
    if (HasMarker(special, open)) return Array(open, "");
  }
  const bool closed = !format.closes.empty();
  return Array(format.opens.back(), closed ? format.closes[0] : "");
}

CallWriting NamedCallsOf(const CallFormat& format, const SpecialMarkers& special) {
  if (format.or_json_array && !HasMarker(special, format.name_ends[0])) {
    return Array(format.call_begin, "");
  }
  CallWriting writing;
  const bool block = format.opens[0] != format.call_begin;
  if (block) writing.block_begin = format.opens[0];
  if (!format.closes.empty()) writing.block_end = format.closes[0];
  writing.trigger = format.opens[0];
  writing.before_name = format.call_begin;
  writing.after_name = format.name_ends[0];
  writing.after_arguments = format.call_end;
  if (!format.type_end.empty()) writing.before_name += "function" + format.type_end;
  if (format.fenced) {
    writing.after_name += "```json\n";
    writing.after_arguments = "\n```" + format.call_end;
    writing.between = "\n";
  }
  if (format.ids == CallIds::kWritten) {
    writing.before_name += "functions.";
    writing.numbered = true;
  }
  return writing;
}

CallWriting TaggedCallsOf(const CallFormat& format) {
  CallWriting writing = {.trigger = format.opens[0]};
  writing.between = "\n";
  if (format.name_begin.empty()) {
    writing.arguments = ArgumentWriting::kGlmTags;
    writing.before_name = format.opens[0];
    writing.after_name = "\n";
    writing.after_arguments = "\n" + format.call_end;
  } else {
    writing.arguments = ArgumentWriting::kQwenTags;
    writing.before_name = format.opens[0] + "\n" + format.name_begin;
    writing.after_name = format.name_end + "\n";
    writing.after_arguments = "\n" + format.call_end + "\n" + format.closes[0];
  }
  return writing;
}

CallWriting PythonCallsOf(const CallFormat& format) {
  CallWriting writing = {.after_name = "(", .after_arguments = ")", .between = ", "};
  writing.arguments = ArgumentWriting::kPythonKeywords;
  if (!format.opens.empty()) writing.trigger = format.opens[0];
  writing.block_begin = writing.trigger + "[";
  writing.block_end = "]" + (format.closes.empty() ? "" : format.closes[0]);
  return writing;
}

}  // namespace

CallWriting WritingOf(const CallFormat& format, const SpecialMarkers& special) {
  switch (format.syntax) {
    case CallSyntax::kJson:
      return JsonCallsOf(format, special);
    case CallSyntax::kNamed:
      return NamedCallsOf(format, special);
    case CallSyntax::kTagged:
      return TaggedCallsOf(format);
    case CallSyntax::kPython:
      return PythonCallsOf(format);
  }
  TIDAL_CHECK(false);
}

}  // namespace tidal
