// Structural tags to grammars that matchers run, off the threads that serve: each takes
// milliseconds, a bad one as long as it likes.
#ifndef TIDAL_SERVER_GRAMMAR_GRAMMAR_COMPILER_H_
#define TIDAL_SERVER_GRAMMAR_GRAMMAR_COMPILER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/base/ids.h"
#include "scheduler/token_constraint.h"
#include "server/text/tokenizer.h"

namespace tidal {

// A compiled grammar. Constant, and so thread-safe; shared by the requests that have it.
class CompiledStructure {
 public:
  virtual ~CompiledStructure() = default;

  // For one output, which makes at least `min_tokens` tokens where the grammar has so many.
  virtual std::shared_ptr<TokenConstraint> MakeConstraint(int32_t min_tokens) const = 0;
};

struct GrammarCompilerOptions {
  int32_t vocab_size = 0;            // of the logits, at least the tokenizer's
  std::vector<TokenId> stop_tokens;  // that end an output
  int num_threads = 2;
  absl::Duration timeout = absl::Seconds(5);  // of one, from when it begins
  size_t max_waiting = 64;
  int64_t max_cache_bytes = 256 << 20;
  // A token costs at most so much on average, or everybody's would be late.
  absl::Duration max_token_time = absl::Microseconds(500);
};

// Thread-safe. The tokenizer outlives it.
class GrammarCompiler {
 public:
  using Result = absl::StatusOr<std::shared_ptr<const CompiledStructure>>;

  GrammarCompiler(const Tokenizer& tokenizer, const GrammarCompilerOptions& options);
  // Whoever waits is told so. A compilation that does not end is left to itself.
  ~GrammarCompiler();

  // Calls `done` once: now, where the tag was seen before, else on a thread of its own, which it
  // must not block. INVALID_ARGUMENT "structured_output: must ...": the library refuses it, it is
  // not compiled in time, or it is too slow to match; RESOURCE_EXHAUSTED: too many wait.
  void Compile(const std::string& structural_tag, std::function<void(Result)> done);

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_GRAMMAR_GRAMMAR_COMPILER_H_
