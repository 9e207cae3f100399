#include "server/generation/reply_formats.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status_macros.h"
#include "server/reply/detect_format.h"

namespace tidal {
namespace {

constexpr char kAuto[] = "auto", kNone[] = "none";

// The format of that name; `found` for "auto".
template <typename Format>
absl::StatusOr<const Format*> Choose(const char* flag, const std::string& name, const Format* found,
                                     const Format* named, const std::vector<Format>& all) {
  if (name == kAuto) return found;
  if (name == kNone) return nullptr;
  if (named != nullptr) return named;
  std::vector<std::string> names = {kAuto, kNone};
  for (const Format& format : all) names.push_back(format.name);
  return absl::InvalidArgumentError(
      absl::StrCat(flag, ": must be one of ", absl::StrJoin(names, ", "), ", got ", name));
}

}  // namespace

absl::StatusOr<ReplyFormats> FindReplyFormats(const ReplyFormatNames& names,
                                              const ChatTemplate* chat_template,
                                              const Tokenizer& tokenizer) {
  DetectedFormat found;
  found.reason = "there is no chat template";
  const bool wanted = names.calls == kAuto || names.reasoning == kAuto;
  if (chat_template != nullptr && wanted) found = DetectReplyFormat(*chat_template);
  ReplyFormats formats;
  TIDAL_ASSIGN_OR_RETURN(formats.calls, Choose("tool_call_parser", names.calls, found.calls,
                                               FindCallFormat(names.calls), CallFormats()));
  TIDAL_ASSIGN_OR_RETURN(formats.reasoning,
                         Choose("reasoning_parser", names.reasoning, found.reasoning,
                                FindReasoningFormat(names.reasoning), ReasoningFormats()));
  formats.special = FindSpecialMarkers(tokenizer, formats.calls, formats.reasoning);
  formats.reason = wanted ? found.reason : "flags";
  return formats;
}

}  // namespace tidal
