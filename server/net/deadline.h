// Ends something that takes too long. Made for deadlines that move with every read and write: the
// timer behind it is touched only where a deadline comes before what it waits for already.
#ifndef TIDAL_SERVER_NET_DEADLINE_H_
#define TIDAL_SERVER_NET_DEADLINE_H_

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include "absl/time/time.h"

namespace tidal {

// A member of what it ends, on whose strand everything happens.
class Deadline {
 public:
  // `on_expire` runs when a deadline passes, which then is no longer set.
  Deadline(const boost::asio::any_io_executor& executor, std::function<void()> on_expire)
      : on_expire_(std::move(on_expire)), timer_(executor) {}

  // `owner`, which this is a member of, stays until the timer no longer waits.
  void Set(absl::Duration from_now, std::shared_ptr<void> owner) {
    if (stopped_) return;
    at_ = Clock::now() + absl::ToChronoNanoseconds(from_now);
    if (at_ < waits_until_) Wait(std::move(owner));
  }
  void Clear() { at_ = kNever; }
  bool is_set() const { return at_ != kNever; }
  // For good. Lets go of the owner.
  void Stop() {
    stopped_ = true;
    Clear();
    timer_.cancel();
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr Clock::time_point kNever = Clock::time_point::max();

  void Wait(std::shared_ptr<void> owner) {
    waits_until_ = at_;
    timer_.expires_at(at_);
    timer_.async_wait(
        [this, owner = std::move(owner)](const boost::system::error_code& error) mutable {
          if (error || stopped_) return;
          waits_until_ = kNever;
          if (!is_set()) return;
          if (Clock::now() < at_) return Wait(std::move(owner));
          Clear();
          on_expire_();
        });
  }

  const std::function<void()> on_expire_;
  boost::asio::steady_timer timer_;
  Clock::time_point at_ = kNever;
  Clock::time_point waits_until_ = kNever;
  bool stopped_ = false;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_NET_DEADLINE_H_
