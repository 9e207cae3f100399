#include "server/gateway/router.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "server/anthropic/messages_api.h"
#include "server/openai/generative_scoring.h"
#include "server/responses/responses_api.h"

namespace tidal {
namespace {

struct Entry {
  const char* path;
  Endpoint endpoint;
  const char* methods;
  bool is_public;
  ApiParser parse = nullptr;
};

// The paths below it are an API's, those too that it has and we do not.
struct ApiPrefix {
  const char* prefix;
  const ApiFormat* format;
};

constexpr const char* kGet = "GET, HEAD";

constexpr Entry kEntries[] = {
    {"/v1/completions", Endpoint::kCompletions, "POST", false, ReadCompletions},
    {"/v1/chat/completions", Endpoint::kChatCompletions, "POST", false, ReadChatCompletions},
    {"/v1/chat/completions/batch", Endpoint::kChatBatch, "POST", false, ReadChatBatch},
    {"/invocations", Endpoint::kInvocations, "POST", false, ReadInvocation},
    {"/generative_scoring", Endpoint::kGenerativeScoring, "POST", false, ReadGenerativeScoring},
    {"/v1/responses", Endpoint::kResponses, "POST", false, ReadResponses},
    {"/v1/messages", Endpoint::kMessages, "POST", false, ReadMessages},
    {"/v1/messages/count_tokens", Endpoint::kCountTokens, "POST", false},
    {"/tokenize", Endpoint::kTokenize, "POST", false},
    {"/detokenize", Endpoint::kDetokenize, "POST", false},
    {"/v1/models", Endpoint::kModels, kGet, false},
    {"/health", Endpoint::kReady, kGet, true},
    {"/health/ready", Endpoint::kReady, kGet, true},
    {"/ping", Endpoint::kReady, "GET, HEAD, POST", true},
    {"/health/started", Endpoint::kStarted, kGet, true},
    {"/health/live", Endpoint::kLive, kGet, true},
    {"/version", Endpoint::kVersion, kGet, true},
    {"/metrics", Endpoint::kMetrics, kGet, true},
    {"/load", Endpoint::kLoad, kGet, true},
    {"/tokenizer_info", Endpoint::kTokenizerInfo, kGet, false},
};

constexpr ApiPrefix kOtherApis[] = {{"/v1/messages", &kMessagesFormat}};

constexpr const char* kNoPooling =
    "this server generates text: its model gives no embeddings, scores, ranks or classes";
constexpr const char* kNoAdapters =
    "this server has no adapters: it serves the one model that it was started with";

// Paths of vLLM that a client may take for granted.
struct NotOffered {
  const char *path, *refusal;
};
constexpr NotOffered kNotOffered[] = {
    {"/v1/embeddings", kNoPooling},
    {"/pooling", kNoPooling},
    {"/classify", kNoPooling},
    {"/score", kNoPooling},
    {"/v1/score", kNoPooling},
    {"/rerank", kNoPooling},
    {"/v1/rerank", kNoPooling},
    {"/v2/rerank", kNoPooling},
    {"/v1/load_lora_adapter", kNoAdapters},
    {"/v1/unload_lora_adapter", kNoAdapters},
};

// Paths with a name in them: what is before it and behind it.
struct NamedEntry {
  const char *prefix, *suffix, *path;
  Endpoint endpoint;
  const char* methods;
};

constexpr NamedEntry kNamedEntries[] = {
    {"/v1/models/", "", "/v1/models/{model}", Endpoint::kModel, kGet},
    {"/v1/responses/", "", "/v1/responses/{response_id}", Endpoint::kStoredResponse,
     "GET, HEAD, DELETE"},
    {"/v1/responses/", "/cancel", "/v1/responses/{response_id}/cancel", Endpoint::kStoredResponse,
     "POST"},
    {"/v1/responses/", "/input_items", "/v1/responses/{response_id}/input_items",
     Endpoint::kStoredResponse, kGet},
};

const ApiFormat* FormatOf(absl::string_view path) {
  for (const ApiPrefix& api : kOtherApis) {
    absl::string_view rest = path;
    if (absl::ConsumePrefix(&rest, api.prefix) && (rest.empty() || rest[0] == '/')) {
      return api.format;
    }
  }
  return &kOpenAiFormat;
}

bool Allows(absl::string_view methods, absl::string_view method) {
  for (const absl::string_view allowed : absl::StrSplit(methods, ", ")) {
    if (method == allowed) return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<std::string> DecodePath(absl::string_view path) {
  std::string decoded;
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '%') {
      decoded += path[i];
      continue;
    }
    if (path.size() - i < 3 || !absl::ascii_isxdigit(path[i + 1]) ||
        !absl::ascii_isxdigit(path[i + 2])) {
      return absl::InvalidArgumentError(
          "path: must have two hexadecimal digits after each %, got others");
    }
    decoded += absl::HexStringToBytes(path.substr(i + 1, 2));
    i += 2;
  }
  return decoded;
}

absl::string_view StripRootPath(absl::string_view root_path, absl::string_view path) {
  absl::string_view rest = path;
  if (root_path.empty() || !absl::ConsumePrefix(&rest, root_path)) return path;
  return absl::StartsWith(rest, "/") ? rest : path;
}

Route FindRoute(absl::string_view method, absl::string_view path) {
  Route route;
  route.format = FormatOf(path);
  for (const Entry& entry : kEntries) {
    if (path != entry.path) continue;
    route.endpoint = entry.endpoint;
    route.path = entry.path;
    route.allowed_methods = entry.methods;
    route.is_public = entry.is_public;
    route.parse = entry.parse;
  }
  for (const NotOffered& entry : kNotOffered) {
    if (path != entry.path) continue;
    route.endpoint = Endpoint::kNotOffered;
    route.path = entry.path;
    route.allowed_methods = "POST";
    route.refusal = entry.refusal;
  }
  for (const NamedEntry& entry : kNamedEntries) {
    absl::string_view name = path;
    if (!absl::ConsumePrefix(&name, entry.prefix) || !absl::ConsumeSuffix(&name, entry.suffix) ||
        name.empty()) {
      continue;
    }
    route.endpoint = entry.endpoint;
    route.path = entry.path;
    route.allowed_methods = entry.methods;
    route.tail = name;
  }
  if (route.endpoint != Endpoint::kNotFound && !Allows(route.allowed_methods, method)) {
    route.endpoint = Endpoint::kWrongMethod;
  }
  return route;
}

std::vector<std::string> GeneratingPaths() {
  std::vector<std::string> paths;
  for (const Entry& entry : kEntries) {
    if (entry.parse != nullptr) paths.emplace_back(entry.path);
  }
  return paths;
}

}  // namespace tidal
