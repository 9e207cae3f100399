// A constraint whose rule anybody can state again: a token must have the remainder of its place.
#ifndef TIDAL_TESTS_SCHEDULER_FAKE_CONSTRAINT_H_
#define TIDAL_TESTS_SCHEDULER_FAKE_CONSTRAINT_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "scheduler/token_constraint.h"

namespace tidal {

class FakeConstraint : public TokenConstraint {
 public:
  struct Rule {
    int32_t vocab_size = 1000;
    int32_t divisor = 3;      // the token of place p is p modulo this; 1: any token
    int32_t free_from = -1;   // from this place on any token may come, which needs no mask
    int32_t length = -1;      // complete with so many tokens
    int32_t refused_at = -1;  // the token of this place is refused, whichever it is
  };

  explicit FakeConstraint(const Rule& rule) : rule_(rule) {}

  bool FillMask(absl::Span<uint32_t> mask) override {
    ++num_fills_;
    if (IsFree(place())) return false;
    for (auto token = static_cast<TokenId>(32 * mask.size()) - 1; token >= 0; --token) {
      if (!Allows(place(), token)) mask[token / 32] &= ~(1u << (token % 32));
    }
    return true;
  }
  bool Accept(TokenId token) override {
    accepts_ = Allows(place(), token) && place() != rule_.refused_at;
    told_.push_back(token);
    return accepts_;
  }
  bool complete() const override { return place() == rule_.length; }

  // The rule, of whatever place.
  bool Allows(int32_t place, TokenId token) const {
    if (token < 0 || token >= rule_.vocab_size) return false;
    return IsFree(place) || token % rule_.divisor == place % rule_.divisor;
  }
  const Rule& rule() const { return rule_; }
  bool EndsWith(int32_t place) const {
    return place == rule_.refused_at || place + 1 == rule_.length;
  }

  // What has happened.
  const std::vector<TokenId>& told() const { return told_; }
  bool has_refused() const { return !accepts_; }
  int32_t num_fills() const { return num_fills_; }

 private:
  int32_t place() const { return static_cast<int32_t>(told_.size()); }
  bool IsFree(int32_t place) const { return rule_.free_from >= 0 && place >= rule_.free_from; }

  const Rule rule_;
  std::vector<TokenId> told_;
  bool accepts_ = true;
  int32_t num_fills_ = 0;
};

}  // namespace tidal

#endif  // TIDAL_TESTS_SCHEDULER_FAKE_CONSTRAINT_H_
