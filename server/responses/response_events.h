// The server-sent events of a streamed response, numbered from 0.
#ifndef TIDAL_SERVER_RESPONSES_RESPONSE_EVENTS_H_
#define TIDAL_SERVER_RESPONSES_RESPONSE_EVENTS_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

namespace tidal {

// Not thread-safe.
class ResponseEvents {
 public:
  // Not `streamed`: it writes nothing.
  explicit ResponseEvents(bool streamed) : streamed_(streamed) {}

  // An event of that type goes to `out`, with the members of `object` behind its type and number.
  void Append(absl::string_view type, const nlohmann::ordered_json& object, std::string* out);
  // An event that has a whole response, JSON text.
  void AppendResponse(absl::string_view type, absl::string_view response, std::string* out);

  bool streamed() const { return streamed_; }

 private:
  void AppendMembers(absl::string_view type, absl::string_view members, std::string* out);

  const bool streamed_;
  int64_t next_number_ = 0;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_RESPONSES_RESPONSE_EVENTS_H_
