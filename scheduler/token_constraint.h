// Which tokens a sequence may go on with, where not all may: a grammar, a list, a budget. Decided
// on the host between two steps, whatever decides it.
#ifndef TIDAL_SCHEDULER_TOKEN_CONSTRAINT_H_
#define TIDAL_SCHEDULER_TOKEN_CONSTRAINT_H_

#include <cstdint>

#include "absl/types/span.h"
#include "engine/base/ids.h"

namespace tidal {

// Of one sequence, from its first sampled token on; it does not know the prompt. Not thread-safe:
// the serving loop's thread owns it. Its calls delay every sequence of the step, so they take
// microseconds.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;

  // Clears the bits of tokens that may not come next (token t is bit t % 32 of word t / 32); all
  // are set before. Leaves at least one, and all where it has failed. False where all may come.
  virtual bool FillMask(absl::Span<uint32_t> mask) = 0;
  // `token` came next. False where it may not.
  virtual bool Accept(TokenId token) = 0;
  // Nothing may come any more: the sequence ends with the token accepted last.
  virtual bool complete() const = 0;
};

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_TOKEN_CONSTRAINT_H_
