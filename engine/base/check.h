// CHECK for our own invariants, never for input: prints the place and aborts, also in release
// builds. DCHECK only in debug builds. (This abseil has no absl/log.)
#ifndef TIDAL_ENGINE_BASE_CHECK_H_
#define TIDAL_ENGINE_BASE_CHECK_H_

#include <cstdio>
#include <cstdlib>

namespace tidal::internal {

[[noreturn]] inline void CheckFailed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "%s:%d: CHECK failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace tidal::internal

#define TIDAL_CHECK(condition) \
  ((condition) ? (void)0 : ::tidal::internal::CheckFailed(__FILE__, __LINE__, #condition))

#ifdef NDEBUG
#define TIDAL_DCHECK(condition) ((void)0)
#else
#define TIDAL_DCHECK(condition) TIDAL_CHECK(condition)
#endif

#endif  // TIDAL_ENGINE_BASE_CHECK_H_
