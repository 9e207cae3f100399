#include "server/ranks/rank_processes.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tidal {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLook{50};
// Looks without a sign of life. They are counted, not timed: when the whole machine stands still,
// so does the one who looks.
constexpr int kMissedBeats = 14;
// A rank that has heard of a failure logs what it has to and ends.
constexpr milliseconds kLastWords{200};
// Memory of many GiB takes a while to be given back.
constexpr milliseconds kOrderlyEnd{5000}, kFailedEnd{700};

std::string HowItEnded(int status) {
  if (WIFSIGNALED(status)) {
    return absl::StrCat("ended by signal ", WTERMSIG(status), " (", strsignal(WTERMSIG(status)),
                        ")");
  }
  return absl::StrCat("ended with status ", WEXITSTATUS(status));
}

// Whether a rank shows signs of life.
class Pulse {
 public:
  Pulse(const RankGroup& group, int rank) : group_(group), rank_(rank) {}

  // Once a look. A rank that has not begun to beat is not missed.
  bool Missed() {
    const uint32_t beats = group_.beats(rank_);
    looks_ = beats == 0 || beats != last_ ? 0 : looks_ + 1;
    last_ = beats;
    return looks_ >= kMissedBeats;
  }

 private:
  const RankGroup& group_;
  const int rank_;
  uint32_t last_ = 0;
  int looks_ = 0;
};

constexpr char kHangs[] = "hangs: no sign of life for most of a second";

// Ends the process when rank 0 or the group has ended.
void WatchRankZero(RankGroup* group, pid_t parent) {
  Pulse pulse(*group, 0);
  while (!group->failed()) {
    group->Beat();
    if (getppid() != parent) _exit(1);
    if (pulse.Missed()) group->Fail(0, kHangs);
    std::this_thread::sleep_for(kLook);
  }
  std::this_thread::sleep_for(kLastWords);
  _exit(1);
}

[[noreturn]] void RunChild(RankGroup* group, pid_t parent,
                           const std::function<int(RankGroup*)>& run) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  // What ends a server is rank 0's to hear, also from a terminal, which tells all.
  signal(SIGINT, SIG_IGN);
  signal(SIGTERM, SIG_IGN);
  std::thread([group, parent] { WatchRankZero(group, parent); }).detach();
  const int status = run(group);
  // A failure is told first, so that nobody takes the end of this process for the cause.
  if (status != 0) group->Fail(group->rank(), "ended with an error, which it logged");
  _exit(status);
}

}  // namespace

absl::StatusOr<std::unique_ptr<RankProcesses>> RankProcesses::Start(
    int size, const std::function<int(RankGroup* group)>& run) {
  std::unique_ptr<RankProcesses> ranks(new RankProcesses);
  ranks->group_ = RankGroup::Create(size);
  if (ranks->group_ == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("tensor_parallel_size: there is no memory for ", size, " ranks to share"));
  }
  const pid_t parent = getpid();
  for (int rank = 1; rank < size; ++rank) {
    const pid_t pid = fork();
    if (pid < 0) {
      return absl::ResourceExhaustedError(absl::StrCat("tensor_parallel_size: rank ", rank,
                                                       " cannot be started: ", strerror(errno)));
    }
    if (pid == 0) {
      const auto group = RankGroup::Join(dup(ranks->group_->fd()), rank);
      if (group == nullptr) _exit(1);
      RunChild(group.get(), parent, run);
    }
    ranks->children_.push_back({rank, pid});
  }
  return ranks;
}

void RankProcesses::Watch(std::function<void(const std::string& failure)> on_failure) {
  watch_ = std::thread([this, on_failure = std::move(on_failure)] {
    std::vector<Pulse> pulses;
    for (const Child& child : children_) pulses.emplace_back(*group_, child.rank);
    while (!stopping_.load()) {
      group_->Beat();
      LookAtChildren();
      for (size_t i = 0; i < children_.size(); ++i) {
        if (!children_[i].ended && pulses[i].Missed()) group_->Fail(children_[i].rank, kHangs);
      }
      if (group_->failed()) return on_failure(group_->failure());
      std::this_thread::sleep_for(kLook);
    }
  });
}

void RankProcesses::LookAtChildren() {
  for (Child& child : children_) {
    int status = 0;
    if (child.ended || waitpid(child.pid, &status, WNOHANG) != child.pid) continue;
    child.ended = true;
    const bool in_order = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!in_order) group_->Fail(child.rank, HowItEnded(status));
  }
}

bool RankProcesses::AllEnded() const {
  return std::all_of(children_.begin(), children_.end(), [](const Child& c) { return c.ended; });
}

RankProcesses::~RankProcesses() {
  stopping_.store(true);
  if (watch_.joinable()) watch_.join();
  const auto begin = std::chrono::steady_clock::now();
  while (LookAtChildren(), !AllEnded()) {
    // Goes on to beat: rank 0 lives until all others have ended.
    group_->Beat();
    if (std::chrono::steady_clock::now() - begin > (group_->failed() ? kFailedEnd : kOrderlyEnd)) {
      break;
    }
    std::this_thread::sleep_for(milliseconds(5));
  }
  for (Child& child : children_) {
    if (child.ended) continue;
    kill(child.pid, SIGKILL);
    waitpid(child.pid, nullptr, 0);
  }
}

}  // namespace tidal
