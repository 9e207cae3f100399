// What a client asked for, in the scheduler's terms. Made by the server, owned by the scheduler
// once submitted.
#ifndef TIDAL_SCHEDULER_REQUEST_H_
#define TIDAL_SCHEDULER_REQUEST_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "engine/base/ids.h"
#include "engine/step.h"
#include "scheduler/token_constraint.h"
#include "scheduler/token_stream.h"

namespace tidal {

struct StopCriteria {
  // The server clips it to the model's length. 0: nothing but the prompt is computed.
  int32_t max_tokens = 16;
  int32_t min_tokens = 0;               // no end token before this many
  std::vector<TokenId> stop_token_ids;  // the model's end tokens included, unless ignored
};

struct Request {
  SequenceId id = 0;            // unique; given by the server
  std::vector<TokenId> prompt;  // >= 1 token; prompt + max_tokens fits the model's length
  SamplingParams sampling;
  StopCriteria stop;
  AttentionPolicy attention;
  std::shared_ptr<TokenConstraint> constraint;  // of this request alone; null: any token may come
  int32_t priority = 0;                         // lower runs earlier, as in vLLM
  std::string tenant;                           // who asked; empty: nobody in particular
  int64_t expected_tokens = 0;  // prompt and likely output; its weight among what waits, set there
  std::string cache_salt;       // prefix cache entries are shared only between equal salts
  absl::Time arrival = absl::InfinitePast();     // as SteadyNow(), like all times here
  absl::Time deadline = absl::InfiniteFuture();  // cancelled at the first step after it
  std::shared_ptr<TokenStream> stream;
};

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_REQUEST_H_
