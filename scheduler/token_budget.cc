#include "scheduler/token_budget.h"

#include <algorithm>

namespace tidal {

int32_t SureChunk(int32_t wanted, int32_t left, int32_t min_chunk) {
  const int32_t share = std::max(left - left / 2, min_chunk);
  return std::min({wanted, share, left});
}

std::vector<int32_t> DivideTokens(int32_t tokens, int32_t min_chunk,
                                  absl::Span<const int32_t> wanted) {
  std::vector<int32_t> granted;
  granted.reserve(wanted.size());
  for (int32_t want : wanted) {
    granted.push_back(SureChunk(want, tokens, min_chunk));
    tokens -= granted.back();
  }
  for (size_t i = 0; i < wanted.size() && tokens > 0; ++i) {
    const int32_t more = std::min(wanted[i] - granted[i], tokens);
    granted[i] += more;
    tokens -= more;
  }
  return granted;
}

}  // namespace tidal
