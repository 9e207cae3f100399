#include "server/gateway/call_metadata.h"

#include <grpcpp/client_context.h>

#include <algorithm>

#include "absl/strings/ascii.h"

namespace tidal {
namespace {

// gRPC refuses metadata of more than 8 KiB in all.
constexpr size_t kMaxValueBytes = 2048;

bool IsCarried(const std::string& value) {
  return !value.empty() && value.size() <= kMaxValueBytes &&
         std::all_of(value.begin(), value.end(), absl::ascii_isprint);
}

}  // namespace

CallMetadata MetadataOf(const HttpRequest& request, const TraceContext& trace) {
  CallMetadata metadata;
  if (IsCarried(request.authorization)) {
    metadata.emplace_back("authorization", request.authorization);
  }
  if (trace.valid()) {
    metadata.emplace_back(kTraceParentHeader, FormatTraceParent(trace));
    if (!trace.state.empty()) metadata.emplace_back(kTraceStateHeader, trace.state);
  }
  return metadata;
}

void AddMetadata(const CallMetadata& metadata, grpc::ClientContext* context) {
  for (const auto& [key, value] : metadata) context->AddMetadata(key, value);
}

}  // namespace tidal
