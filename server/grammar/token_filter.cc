#include "server/grammar/token_filter.h"

#include <algorithm>
#include <utility>

namespace tidal {
namespace {

using Mask = absl::Span<uint32_t>;

constexpr uint32_t Bit(TokenId token) { return uint32_t{1} << (token % 32); }

bool IsEmpty(Mask mask) {
  return std::all_of(mask.begin(), mask.end(), [](uint32_t word) { return word == 0; });
}

// Says whether the mask is narrower now: it stays as it is where nothing would be left.
bool Intersect(Mask mask, absl::Span<const uint32_t> with) {
  bool some = false;
  for (size_t i = 0; i < mask.size(); ++i) some = some || (mask[i] & with[i]) != 0;
  if (!some) return false;
  for (size_t i = 0; i < mask.size(); ++i) mask[i] &= with[i];
  return true;
}

class FilterConstraint : public TokenConstraint {
 public:
  FilterConstraint(std::shared_ptr<const TokenFilter> filter,
                   std::shared_ptr<TokenConstraint> structure, std::vector<TokenId> stop_tokens,
                   int32_t min_tokens)
      : filter_(std::move(filter)),
        structure_(std::move(structure)),
        stop_tokens_(std::move(stop_tokens)),
        min_tokens_(min_tokens) {
    for (const auto& word : filter_->bad_words) longest_ = std::max(longest_, word.size());
  }

  bool FillMask(Mask mask) override {
    bool narrowed = structure_ != nullptr && structure_->FillMask(mask);
    // Bits past the vocabulary would count as tokens that are left.
    if (filter_->vocab_size % 32 != 0) mask.back() &= Bit(filter_->vocab_size) - 1;
    if (!filter_->allowed.empty()) narrowed |= Intersect(mask, filter_->allowed);
    if (!filter_->bad_words.empty()) narrowed |= ClearTokens(mask, EndsOfBadWords());
    const bool holds_stop = structure_ == nullptr && num_tokens_ < min_tokens_;
    if (holds_stop) narrowed |= ClearTokens(mask, stop_tokens_);
    return narrowed;
  }

  bool Accept(TokenId token) override {
    ++num_tokens_;
    last_.push_back(token);
    if (last_.size() >= longest_) last_.erase(last_.begin());
    return structure_ == nullptr || structure_->Accept(token);
  }

  bool complete() const override { return structure_ != nullptr && structure_->complete(); }

 private:
  // The tokens that would complete one.
  std::vector<TokenId> EndsOfBadWords() const {
    std::vector<TokenId> ends;
    for (const std::vector<TokenId>& word : filter_->bad_words) {
      const size_t before = word.size() - 1;
      if (before > last_.size()) continue;
      if (std::equal(word.rbegin() + 1, word.rend(), last_.rbegin())) ends.push_back(word.back());
    }
    return ends;
  }

  const std::shared_ptr<const TokenFilter> filter_;
  const std::shared_ptr<TokenConstraint> structure_;
  const std::vector<TokenId> stop_tokens_;
  const int32_t min_tokens_;
  size_t longest_ = 1;  // bad word
  int32_t num_tokens_ = 0;
  std::vector<TokenId> last_;  // as many as a bad word has before its last
};

}  // namespace

std::vector<uint32_t> MaskOf(absl::Span<const TokenId> ids, int32_t vocab_size) {
  std::vector<uint32_t> mask((static_cast<size_t>(vocab_size) + 31) / 32);
  for (const TokenId id : ids) mask[id / 32] |= Bit(id);
  return mask;
}

bool ClearTokens(absl::Span<uint32_t> mask, std::vector<TokenId> tokens) {
  std::erase_if(tokens, [&](TokenId token) { return (mask[token / 32] & Bit(token)) == 0; });
  if (tokens.empty()) return false;
  for (const TokenId token : tokens) mask[token / 32] &= ~Bit(token);
  if (!IsEmpty(mask)) return true;
  for (const TokenId token : tokens) mask[token / 32] |= Bit(token);
  return false;
}

std::shared_ptr<TokenConstraint> MakeFilterConstraint(std::shared_ptr<const TokenFilter> filter,
                                                      std::shared_ptr<TokenConstraint> structure,
                                                      std::vector<TokenId> stop_tokens,
                                                      int32_t min_tokens) {
  return std::make_shared<FilterConstraint>(std::move(filter), std::move(structure),
                                            std::move(stop_tokens), min_tokens);
}

}  // namespace tidal
