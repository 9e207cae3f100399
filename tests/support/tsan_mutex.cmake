# Every program of a thread sanitizer build: see tsan_mutex.cc.
if(TIDAL_SANITIZE MATCHES "thread")
  add_library(tidal_tsan_mutex STATIC ${CMAKE_SOURCE_DIR}/tests/support/tsan_mutex.cc)
  target_compile_options(tidal_tsan_mutex PRIVATE -fsanitize=thread)
  target_link_libraries(tidal_tsan_mutex PUBLIC absl::synchronization absl::time)
  foreach(function
          5Mutex4LockEv 5Mutex6UnlockEv 5Mutex7TryLockEv 5Mutex10ReaderLockEv 5Mutex12ReaderUnlockEv
          5Mutex8LockWhenERKNS0_9ConditionE 5Mutex5AwaitERKNS0_9ConditionE
          5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE
          5Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE
          7CondVar4WaitEPNS0_5MutexE)
    target_link_options(tidal_tsan_mutex INTERFACE -Wl,--wrap=_ZN4absl7debian3${function})
  endforeach()
  target_link_libraries(tidal_options INTERFACE tidal_tsan_mutex)
endif()
