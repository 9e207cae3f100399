// Teaches ThreadSanitizer what absl::Mutex orders. The packaged Abseil is not instrumented, so
// without this every access guarded by an absl::Mutex looks like a race. Linked into thread
// sanitizer builds only: the linker's --wrap sends our calls of M to Wrap<M> below, and Real<M> is
// the package's (CMakeLists.txt lists the same functions).
//
// While a mutex is given up, its own code may evaluate the conditions of other threads' Await(), on
// this thread and after our release is recorded. Those reads are correct, and ignored.
#include <sanitizer/tsan_interface.h>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

extern "C" void AnnotateIgnoreReadsBegin(const char* file, int line);
extern "C" void AnnotateIgnoreReadsEnd(const char* file, int line);

namespace tidal {
namespace {

using absl::Condition;
using absl::CondVar;
using absl::Duration;
using absl::Mutex;
using absl::Time;

// Around a call that gives the mutex up, for good or until it returns.
class GivenUp {
 public:
  explicit GivenUp(Mutex* mutex) {
    __tsan_release(mutex);
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  }
  ~GivenUp() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
};

}  // namespace

// `debian3` in the names is the package's inline namespace.
#define TIDAL_REAL(symbol) __asm__("__real_" symbol)
#define TIDAL_WRAP(symbol) __asm__("__wrap_" symbol)

void RealLock(Mutex* mutex) TIDAL_REAL("_ZN4absl7debian35Mutex4LockEv");
void WrapLock(Mutex* mutex) TIDAL_WRAP("_ZN4absl7debian35Mutex4LockEv");
void RealUnlock(Mutex* mutex) TIDAL_REAL("_ZN4absl7debian35Mutex6UnlockEv");
void WrapUnlock(Mutex* mutex) TIDAL_WRAP("_ZN4absl7debian35Mutex6UnlockEv");
bool RealTryLock(Mutex* mutex) TIDAL_REAL("_ZN4absl7debian35Mutex7TryLockEv");
bool WrapTryLock(Mutex* mutex) TIDAL_WRAP("_ZN4absl7debian35Mutex7TryLockEv");
void RealReaderLock(Mutex* mutex) TIDAL_REAL("_ZN4absl7debian35Mutex10ReaderLockEv");
void WrapReaderLock(Mutex* mutex) TIDAL_WRAP("_ZN4absl7debian35Mutex10ReaderLockEv");
void RealReaderUnlock(Mutex* mutex) TIDAL_REAL("_ZN4absl7debian35Mutex12ReaderUnlockEv");
void WrapReaderUnlock(Mutex* mutex) TIDAL_WRAP("_ZN4absl7debian35Mutex12ReaderUnlockEv");
void RealLockWhen(Mutex* mutex, const Condition& condition)
    TIDAL_REAL("_ZN4absl7debian35Mutex8LockWhenERKNS0_9ConditionE");
void WrapLockWhen(Mutex* mutex, const Condition& condition)
    TIDAL_WRAP("_ZN4absl7debian35Mutex8LockWhenERKNS0_9ConditionE");
void RealAwait(Mutex* mutex, const Condition& condition)
    TIDAL_REAL("_ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE");
void WrapAwait(Mutex* mutex, const Condition& condition)
    TIDAL_WRAP("_ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE");
bool RealAwaitWithTimeout(Mutex* mutex, const Condition& condition, Duration timeout)
    TIDAL_REAL("_ZN4absl7debian35Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE");
bool WrapAwaitWithTimeout(Mutex* mutex, const Condition& condition, Duration timeout)
    TIDAL_WRAP("_ZN4absl7debian35Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE");
bool RealAwaitWithDeadline(Mutex* mutex, const Condition& condition, Time deadline)
    TIDAL_REAL("_ZN4absl7debian35Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE");
bool WrapAwaitWithDeadline(Mutex* mutex, const Condition& condition, Time deadline)
    TIDAL_WRAP("_ZN4absl7debian35Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE");
void RealWait(CondVar* variable, Mutex* mutex)
    TIDAL_REAL("_ZN4absl7debian37CondVar4WaitEPNS0_5MutexE");
void WrapWait(CondVar* variable, Mutex* mutex)
    TIDAL_WRAP("_ZN4absl7debian37CondVar4WaitEPNS0_5MutexE");

void WrapLock(Mutex* mutex) {
  RealLock(mutex);
  __tsan_acquire(mutex);
}

void WrapUnlock(Mutex* mutex) {
  GivenUp given_up(mutex);
  RealUnlock(mutex);
}

bool WrapTryLock(Mutex* mutex) {
  const bool locked = RealTryLock(mutex);
  if (locked) __tsan_acquire(mutex);
  return locked;
}

void WrapReaderLock(Mutex* mutex) {
  RealReaderLock(mutex);
  __tsan_acquire(mutex);
}

void WrapReaderUnlock(Mutex* mutex) {
  GivenUp given_up(mutex);
  RealReaderUnlock(mutex);
}

void WrapLockWhen(Mutex* mutex, const Condition& condition) {
  {
    GivenUp given_up(mutex);
    RealLockWhen(mutex, condition);
  }
  __tsan_acquire(mutex);
}

void WrapAwait(Mutex* mutex, const Condition& condition) {
  {
    GivenUp given_up(mutex);
    RealAwait(mutex, condition);
  }
  __tsan_acquire(mutex);
}

bool WrapAwaitWithTimeout(Mutex* mutex, const Condition& condition, Duration timeout) {
  bool holds;
  {
    GivenUp given_up(mutex);
    holds = RealAwaitWithTimeout(mutex, condition, timeout);
  }
  __tsan_acquire(mutex);
  return holds;
}

bool WrapAwaitWithDeadline(Mutex* mutex, const Condition& condition, Time deadline) {
  bool holds;
  {
    GivenUp given_up(mutex);
    holds = RealAwaitWithDeadline(mutex, condition, deadline);
  }
  __tsan_acquire(mutex);
  return holds;
}

void WrapWait(CondVar* variable, Mutex* mutex) {
  {
    GivenUp given_up(mutex);
    RealWait(variable, mutex);
  }
  __tsan_acquire(mutex);
}

}  // namespace tidal
