// May a request enter at all? Pure; any thread.
#ifndef TIDAL_SCHEDULER_ADMISSION_H_
#define TIDAL_SCHEDULER_ADMISSION_H_

#include "absl/status/status.h"
#include "scheduler/request.h"
#include "scheduler/scheduler_config.h"

namespace tidal {

// INVALID_ARGUMENT "field: must be ..., got ..." for a request that could never finish: an empty
// prompt, more tokens than the model's length, or more than the whole KV cache holds. A request
// that passes can always run to its end, if need be alone.
absl::Status CheckAdmissible(const Request& request, const SchedulerConfig& config);

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_ADMISSION_H_
