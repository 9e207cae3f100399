// Early return on a Status that is not ok. (This abseil has no status macros.)
#ifndef TIDAL_ENGINE_BASE_STATUS_MACROS_H_
#define TIDAL_ENGINE_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define TIDAL_RETURN_IF_ERROR(expr)                                                  \
  do {                                                                               \
    if (absl::Status tidal_status = (expr); !tidal_status.ok()) return tidal_status; \
  } while (false)

#define TIDAL_STATUS_CONCAT_INNER(a, b) a##b
#define TIDAL_STATUS_CONCAT(a, b) TIDAL_STATUS_CONCAT_INNER(a, b)

// TIDAL_ASSIGN_OR_RETURN(auto x, F()): x = *F(), or return F().status().
#define TIDAL_ASSIGN_OR_RETURN(lhs, expr) \
  TIDAL_ASSIGN_OR_RETURN_IMPL(TIDAL_STATUS_CONCAT(tidal_statusor_, __LINE__), lhs, expr)
#define TIDAL_ASSIGN_OR_RETURN_IMPL(statusor, lhs, expr) \
  auto statusor = (expr);                                \
  if (!statusor.ok()) return statusor.status();          \
  lhs = std::move(statusor).value()

#endif  // TIDAL_ENGINE_BASE_STATUS_MACROS_H_
