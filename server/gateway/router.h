// Which handler answers a path.
#ifndef TIDAL_SERVER_GATEWAY_ROUTER_H_
#define TIDAL_SERVER_GATEWAY_ROUTER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/openai/api_reply.h"
#include "server/openai/openai_api.h"

namespace tidal {

enum class Endpoint {
  kNotFound,
  kBadPath,  // DecodePath() refused it
  kWrongMethod,
  kCompletions,
  kChatCompletions,
  kChatBatch,
  kInvocations,
  kGenerativeScoring,
  kResponses,
  kStoredResponse,
  kMessages,
  kCountTokens,
  kTokenize,
  kDetokenize,
  kModels,
  kModel,
  kStarted,
  kReady,
  kLive,
  kVersion,
  kMetrics,
  kLoad,
  kTokenizerInfo,
  kNotOffered,  // of other kinds of servers
};

struct Route {
  Endpoint endpoint = Endpoint::kNotFound;
  std::string path = "other";     // the pattern, as a metric's label has it
  std::string allowed_methods;    // of the path; empty for kNotFound
  bool is_public = false;         // answered without an API key
  const char* refusal = nullptr;  // kNotOffered: what a caller is told
  absl::string_view tail;         // kModel, kStoredResponse: the name or id, a view into the path
  ApiParser parse = nullptr;      // not null: of the paths that generate
  const ApiFormat* format = &kOpenAiFormat;
};

// The path that an escaped one (%2F) stands for. INVALID_ARGUMENT where an escape is broken.
absl::StatusOr<std::string> DecodePath(absl::string_view path);

// `path` below `root_path` ("/llm", or empty), where a proxy has not taken it off; else `path`.
absl::string_view StripRootPath(absl::string_view root_path, absl::string_view path);

Route FindRoute(absl::string_view method, absl::string_view path);

// The patterns of the paths that generate.
std::vector<std::string> GeneratingPaths();

}  // namespace tidal

#endif  // TIDAL_SERVER_GATEWAY_ROUTER_H_
