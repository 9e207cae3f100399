// How the tokens of a step are divided among sequences: arithmetic only.
#ifndef TIDAL_SCHEDULER_TOKEN_BUDGET_H_
#define TIDAL_SCHEDULER_TOKEN_BUDGET_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace tidal {

// The chunk a sequence that wants `wanted` more tokens is sure to get out of `left`: all of it when
// it wants at most half, else half, though never less than `min_chunk` while there is as much.
int32_t SureChunk(int32_t wanted, int32_t left, int32_t min_chunk);

// Divides `tokens` among chunks wanted by sequences that are served in this order. Each first gets
// its sure chunk of what those before it left, then what nobody took goes to them in the same
// order. So one long prompt delays short ones behind it by at most half a step each, and uses the
// whole step when there is nobody else.
std::vector<int32_t> DivideTokens(int32_t tokens, int32_t min_chunk,
                                  absl::Span<const int32_t> wanted);

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_TOKEN_BUDGET_H_
