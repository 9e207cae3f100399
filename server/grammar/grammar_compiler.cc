#include "server/grammar/grammar_compiler.h"

#include <sys/resource.h>
#include <unistd.h>

#include <deque>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "server/grammar/structure_cache.h"
#include "server/grammar/xgrammar_border.h"

namespace tidal {
namespace {

constexpr int kNiceness = 10;  // requests that run come first
constexpr int kMaxStuck = 4;   // threads that may be left to compilations without an end

}  // namespace

// Outlives the compiler where a thread is stuck in a compilation.
struct GrammarCompiler::Shared : public std::enable_shared_from_this<GrammarCompiler::Shared> {
  struct Job {
    std::string tag;
    std::vector<std::function<void(Result)>> waiting;  // empty: answered
    absl::Time begin;                                  // in the queue, then of its compilation
  };
  using JobPtr = std::shared_ptr<Job>;

  Shared(const Tokenizer& tokenizer, const GrammarCompilerOptions& given)
      : options(given),
        library(MakeGrammarLibrary(tokenizer, given.vocab_size, given.stop_tokens)),
        cache(given.max_cache_bytes) {}

  void Start() {
    absl::MutexLock lock(&mutex);
    for (int i = 0; i < options.num_threads; ++i) AddWorker();
    std::thread([self = shared_from_this()] { self->Watch(); }).detach();
    ++num_threads;
  }

  void Stop() {
    std::vector<std::pair<JobPtr, Result>> answers;
    {
      absl::MutexLock lock(&mutex);
      stopping = true;
      for (auto& jobs : {queue, running}) {
        for (const JobPtr& job : jobs) {
          answers.emplace_back(job, absl::UnavailableError("the server is shutting down"));
        }
      }
      queue.clear();
    }
    for (auto& [job, result] : answers) Answer(job, result);
    // Those that are stuck stay so until the process ends.
    absl::MutexLock lock(&mutex);
    const auto gone = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex) { return num_threads <= stuck; };
    mutex.AwaitWithTimeout(absl::Condition(&gone), options.timeout);
  }

  void AddWorker() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    ++num_threads;
    std::thread([self = shared_from_this()] { self->Work(); }).detach();
  }

  void Work() {
    setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNiceness);
    while (const JobPtr job = TakeJob()) {
      const Result result = CompileOne(job->tag);
      if (!Finish(job, result)) return;
    }
    absl::MutexLock lock(&mutex);
    --num_threads;
  }

  // Null: the end.
  JobPtr TakeJob() {
    absl::MutexLock lock(&mutex);
    const auto ready = [this]()
                           ABSL_SHARED_LOCKS_REQUIRED(mutex) { return stopping || !queue.empty(); };
    mutex.Await(absl::Condition(&ready));
    if (stopping) return nullptr;
    JobPtr job = std::move(queue.front());
    queue.pop_front();
    job->begin = absl::Now();
    running.push_back(job);
    return job;
  }

  Result CompileOne(const std::string& tag) {
    Result result = library->Compile(tag);
    if (!result.ok()) return result;
    if (library->MeasureTokenTime(**result) <= options.max_token_time) return result;
    return absl::InvalidArgumentError(absl::StrCat("structured_output: must cost at most ",
                                                   absl::FormatDuration(options.max_token_time),
                                                   " a token, got more"));
  }

  // False: the job was given up, and its thread with it.
  bool Finish(const JobPtr& job, const Result& result) {
    {
      absl::MutexLock lock(&mutex);
      if (std::erase(running, job) == 0) {
        --stuck;
        --num_threads;
        return false;
      }
      Remember(job->tag, result);
    }
    Answer(job, result);
    return true;
  }

  void Remember(const std::string& tag, const Result& result) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    jobs.erase(tag);
    if (!result.ok() && !absl::IsInvalidArgument(result.status())) return;
    cache.Put(tag, result, result.ok() ? library->Bytes(**result) : 0);
  }

  void Answer(const JobPtr& job, const Result& result) {
    std::vector<std::function<void(Result)>> waiting;
    {
      absl::MutexLock lock(&mutex);
      waiting.swap(job->waiting);
    }
    for (const auto& done : waiting) done(result);
  }

  // Gives up what takes too long.
  void Watch() {
    for (;;) {
      std::vector<std::pair<JobPtr, Result>> overdue;
      {
        absl::MutexLock lock(&mutex);
        mutex.AwaitWithTimeout(absl::Condition(&stopping), absl::Milliseconds(50));
        if (stopping) {
          --num_threads;
          return;
        }
        TakeOverdue(&overdue);
      }
      for (auto& [job, result] : overdue) Answer(job, result);
    }
  }

  void TakeOverdue(std::vector<std::pair<JobPtr, Result>>* overdue)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const absl::Time limit = absl::Now() - options.timeout;
    for (size_t i = 0; i < running.size();) {
      if (running[i]->begin > limit) {
        ++i;
        continue;
      }
      const JobPtr job = running[i];
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
      overdue->emplace_back(job, absl::InvalidArgumentError(absl::StrCat(
                                     "structured_output: must be compiled within ",
                                     absl::FormatDuration(options.timeout), ", got no end of it")));
      Remember(job->tag, overdue->back().second);
      if (++stuck <= kMaxStuck) AddWorker();
    }
    while (!queue.empty() && queue.front()->begin <= limit) {
      overdue->emplace_back(queue.front(), TooMany());
      jobs.erase(queue.front()->tag);
      queue.pop_front();
    }
  }

  static absl::Status TooMany() {
    return absl::ResourceExhaustedError("too many structured outputs wait to be compiled");
  }

  const GrammarCompilerOptions options;
  const std::unique_ptr<GrammarLibrary> library;
  absl::Mutex mutex;
  StructureCache cache ABSL_GUARDED_BY(mutex);
  absl::flat_hash_map<std::string, JobPtr> jobs ABSL_GUARDED_BY(mutex);  // waiting and running
  std::deque<JobPtr> queue ABSL_GUARDED_BY(mutex);
  std::deque<JobPtr> running ABSL_GUARDED_BY(mutex);
  int num_threads ABSL_GUARDED_BY(mutex) = 0;  // the watcher among them
  int stuck ABSL_GUARDED_BY(mutex) = 0;        // in a job that was given up
  bool stopping ABSL_GUARDED_BY(mutex) = false;
};

GrammarCompiler::GrammarCompiler(const Tokenizer& tokenizer, const GrammarCompilerOptions& options)
    : shared_(std::make_shared<Shared>(tokenizer, options)) {
  shared_->Start();
}

GrammarCompiler::~GrammarCompiler() { shared_->Stop(); }

void GrammarCompiler::Compile(const std::string& structural_tag, std::function<void(Result)> done) {
  Result known = Shared::TooMany();
  {
    absl::MutexLock lock(&shared_->mutex);
    if (const Result* cached = shared_->cache.Find(structural_tag)) {
      known = *cached;
    } else if (const auto job = shared_->jobs.find(structural_tag); job != shared_->jobs.end()) {
      return job->second->waiting.push_back(std::move(done));
    } else if (!shared_->stopping && shared_->queue.size() < shared_->options.max_waiting) {
      auto added = std::make_shared<Shared::Job>();
      added->tag = structural_tag;
      added->begin = absl::Now();
      added->waiting.push_back(std::move(done));
      shared_->jobs.emplace(structural_tag, added);
      return shared_->queue.push_back(std::move(added));
    }
  }
  done(known);
}

}  // namespace tidal
