// What of an HTTP request's header goes on to the service as metadata of its calls.
#ifndef TIDAL_SERVER_GATEWAY_CALL_METADATA_H_
#define TIDAL_SERVER_GATEWAY_CALL_METADATA_H_

#include <string>
#include <utility>
#include <vector>

#include "server/http/http_message.h"
#include "server/observe/trace_context.h"

namespace grpc {
class ClientContext;
}

namespace tidal {

// Keys in lower case and values as gRPC accepts them.
using CallMetadata = std::vector<std::pair<std::string, std::string>>;

// The Authorization header, and the span that the call is made in, where `trace` is one. A value
// that gRPC would not carry is left out, as if it had not come.
CallMetadata MetadataOf(const HttpRequest& request, const TraceContext& trace = {});

// Before the call starts.
void AddMetadata(const CallMetadata& metadata, grpc::ClientContext* context);

}  // namespace tidal

#endif  // TIDAL_SERVER_GATEWAY_CALL_METADATA_H_
