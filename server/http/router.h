// Which handler answers a path.
#ifndef TIDAL_SERVER_HTTP_ROUTER_H_
#define TIDAL_SERVER_HTTP_ROUTER_H_

#include <string>

#include "absl/strings/string_view.h"

namespace tidal {

enum class Endpoint {
  kNotFound,
  kWrongMethod,
  kCompletions,
  kChatCompletions,
  kTokenize,
  kDetokenize,
  kModels,
  kModel,
  kStarted,
  kReady,
  kLive,
  kVersion,
  kMetrics,
};

struct Route {
  Endpoint endpoint = Endpoint::kNotFound;
  std::string path = "other";   // the pattern, as a metric's label has it
  std::string allowed_methods;  // of the path; empty for kNotFound
  bool is_public = false;       // answered without an API key
  absl::string_view tail;       // kModel: the model's name, a view into the path
};

Route FindRoute(absl::string_view method, absl::string_view path);

}  // namespace tidal

#endif  // TIDAL_SERVER_HTTP_ROUTER_H_
