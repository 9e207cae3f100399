#include "server/responses/response_events.h"

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/openai/reply_json.h"

namespace tidal {

void ResponseEvents::Append(absl::string_view type, const Json& object, std::string* out) {
  if (!streamed_) return;
  const std::string text = DumpJson(object);
  AppendMembers(type, absl::string_view(text).substr(1, text.size() - 2), out);
}

void ResponseEvents::AppendResponse(absl::string_view type, absl::string_view response,
                                    std::string* out) {
  if (streamed_) AppendMembers(type, absl::StrCat("\"response\":", response), out);
}

void ResponseEvents::AppendMembers(absl::string_view type, absl::string_view members,
                                   std::string* out) {
  absl::StrAppend(out, "event: ", type, "\ndata: {\"type\":\"", type,
                  "\",\"sequence_number\":", next_number_++, ",", members, "}\n\n");
}

}  // namespace tidal
