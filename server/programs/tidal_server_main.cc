// tidal-server: serves one model over gRPC and HTTP until SIGTERM or SIGINT.
#include <google/protobuf/stubs/logging.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/config/command_line.h"
#include "server/config/memory.h"
#include "server/config/open_files.h"
#include "server/config/server_config.h"
#include "server/config/server_flags.h"
#include "server/observe/logging.h"
#include "server/programs/tidal_server.h"
#include "server/ranks/load_engine.h"

namespace {

constexpr char kUsage[] =
    "Serves a language model over HTTP (OpenAI's API) and gRPC (tidal.v1.Inference).\n\n"
    "  tidal-server [serve] [MODEL] [--http_port=8000] [--grpc_port=50051] [--config=FILE]\n\n"
    "MODEL is what --model takes. Flags may have dashes for underscores, or vLLM's names.\n\n"
    "SIGTERM or SIGINT drains: running requests finish, new ones are refused. A second one ends "
    "the "
    "server at once.";

// The errors of libraries say less than ours, which follow them; and a client could fill the log.
void QuietLibraries() {
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  google::protobuf::SetLogHandler(nullptr);
}

// What ends the program: SIGTERM or SIGINT, for all threads of the process, or a rank that failed.
// Made before any other thread.
class EndOfServing {
 public:
  EndOfServing() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGTERM);
    sigaddset(&set_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    std::thread([this] { Watch(); }).detach();
  }

  // From now on the first signal, or a failure, is for Wait(); until now it ended the program.
  void StartServing() { serving_.store(true); }
  void Wait() { first_.WaitForNotification(); }
  bool failed() const { return failed_.load(); }  // a rank did

  void Fail(const std::string& failure) {
    if (!serving_.load()) {
      std::fprintf(stderr, "tidal-server: %s\n", failure.c_str());
      _exit(1);
    }
    tidal::Log(tidal::LogLevel::kError, "a rank failed; the server ends", {{"reason", failure}});
    failed_.store(true);
    NotifyOnce();
  }

 private:
  void Watch() {
    int received = 0;
    sigwait(&set_, &received);
    if (!serving_.load()) _exit(0);  // nothing was promised to anybody yet
    NotifyOnce();
    sigwait(&set_, &received);
    _exit(1);
  }

  void NotifyOnce() {
    if (!notified_.exchange(true)) first_.Notify();
  }

  sigset_t set_;
  std::atomic<bool> serving_{false}, failed_{false}, notified_{false};
  absl::Notification first_;
};

// A model that hangs cannot be drained. Beyond what an orderly shutdown takes.
constexpr absl::Duration kStuckGrace = absl::Seconds(20);
// Without all ranks nothing can be finished: streams are told so, and the process makes room for
// the next.
constexpr absl::Duration kFailureGrace = absl::Milliseconds(600);

void ExitAfter(absl::Duration timeout) {
  std::thread([timeout] {
    absl::SleepFor(timeout);
    tidal::Log(tidal::LogLevel::kError, "the shutdown hangs: leaving");
    _exit(1);
  }).detach();
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "tidal-server: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  QuietLibraries();
  signal(SIGPIPE, SIG_IGN);
  signal(SIGHUP, SIG_IGN);  // for a daemon it means "read your files again", which happens anyway
  const std::vector<std::string> rest = tidal::ParseCommandLine(argc, argv, kUsage, "model");
  if (!rest.empty()) {
    return Fail(absl::InvalidArgumentError(
        "arguments: must be one model and flags, whose lists have commas; got " + rest.front()));
  }
  absl::StatusOr<tidal::ServerConfig> config = tidal::ServerConfigFromFlags();
  if (!config.ok()) return Fail(config.status());
  if (tidal::PrintConfigIfAsked()) return 0;
  tidal::InitLogging(config->log_level, config->log_format);
  tidal::InitMemory();
  tidal::LogUnknownVariables();
  const absl::Status files = tidal::RaiseOpenFileLimit(config->doors.http.max_connections,
                                                       tidal::kFilesOfHttp + tidal::kFilesOfGrpc);
  if (const absl::Status few = tidal::CheckOpenFiles(); !few.ok()) return Fail(few);
  if (!files.ok()) tidal::Log(tidal::LogLevel::kWarning, files.message());

  // Processes are made before threads.
  const auto ranks = tidal::StartRanks(&config->model);
  if (!ranks.ok()) return Fail(ranks.status());
  if (*ranks != nullptr) tidal::SetLogRank(0);

  auto* const end = new EndOfServing;  // its thread lives until the process ends
  if (*ranks != nullptr) (*ranks)->Watch([end](const std::string& failure) { end->Fail(failure); });
  absl::StatusOr<std::unique_ptr<tidal::TidalServer>> server = tidal::TidalServer::Start(*config);
  if (!server.ok()) return Fail(server.status());

  end->StartServing();
  end->Wait();
  if (end->failed()) {
    ExitAfter(kFailureGrace);
    (*server)->Shutdown(absl::ZeroDuration());
    return 1;
  }
  tidal::Log(tidal::LogLevel::kInfo, "draining");
  ExitAfter(config->shutdown_timeout + kStuckGrace);
  const bool finished = (*server)->Shutdown(config->shutdown_timeout);
  tidal::Log(tidal::LogLevel::kInfo, "stopped",
             {{"all_requests_finished", finished ? "yes" : "no"}});
  return end->failed() ? 1 : 0;
}
