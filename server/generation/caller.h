// Who asks, how long they wait, in which trace: what a request's connection says, beside its
// message.
#ifndef TIDAL_SERVER_GENERATION_CALLER_H_
#define TIDAL_SERVER_GENERATION_CALLER_H_

#include <string>

#include "absl/time/time.h"
#include "server/observe/trace_context.h"

namespace tidal {

struct Caller {
  std::string tenant;                            // whose key the request carried; empty: no key
  absl::Time deadline = absl::InfiniteFuture();  // nobody reads the answer after it
  TraceContext trace;                            // the caller's span; not valid(): none
};

}  // namespace tidal

#endif  // TIDAL_SERVER_GENERATION_CALLER_H_
