// The threads of the CPU back end: one parallel loop at a time, handed out index by index.
//
// A step has hundreds of short loops, so idle workers spin for some microseconds before they sleep,
// and a loop never waits for a worker that slept through it.
#ifndef TIDAL_KERNELS_CPU_THREAD_POOL_H_
#define TIDAL_KERNELS_CPU_THREAD_POOL_H_

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace tidal::cpu {

// Driven by one thread at a time, which takes part as worker 0.
class ThreadPool {
 public:
  explicit ThreadPool(int num_threads);  // >= 1
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(threads_.size()) + 1; }

  // Calls body(index, worker) once for each index in [0, count), worker in [0, num_threads()), in
  // no particular order; returns when all calls have. Must not be nested.
  template <typename Body>
  void ParallelFor(int32_t count, Body&& body) {
    using Callable = std::remove_reference_t<Body>;
    Run(
        count, [](void* context, int32_t index, int worker) {
          (*static_cast<Callable*>(context))(index, worker);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using Invoke = void (*)(void* context, int32_t index, int worker);

  void Run(int32_t count, Invoke invoke, void* context);
  void WorkerMain(int worker);
  // Claims and runs indices of the loop `generation` until none is left.
  void RunShare(uint32_t generation, int worker);

  // The loop being run. A worker reads these fields, then claims an index; the claim fails when the
  // loop has changed in between, so it never runs one loop's body with another's fields.
  std::atomic<Invoke> invoke_{nullptr};
  std::atomic<void*> context_{nullptr};
  std::atomic<int32_t> count_{0};
  alignas(64) std::atomic<uint64_t> ticket_{0};  // generation << 32 | next index
  alignas(64) std::atomic<int32_t> done_{0};     // indices finished
  alignas(64) std::atomic<uint32_t> generation_{0};  // what sleeping workers wait on
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace tidal::cpu

#endif  // TIDAL_KERNELS_CPU_THREAD_POOL_H_
