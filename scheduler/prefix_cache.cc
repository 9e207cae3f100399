#include "scheduler/prefix_cache.h"

#include <algorithm>

#include "absl/hash/hash.h"
#include "engine/base/check.h"

namespace tidal {

PrefixCache::PrefixCache(int32_t num_blocks) : entries_(num_blocks) {}

uint64_t PrefixCache::RootHash(absl::string_view salt) { return absl::HashOf(salt); }

uint64_t PrefixCache::ChainHash(uint64_t previous, absl::Span<const TokenId> tokens) {
  return absl::HashOf(previous, tokens);
}

std::optional<BlockId> PrefixCache::Find(const BlockContent& content) const {
  auto it = by_hash_.find(content.hash);
  if (it == by_hash_.end() || !Holds(entries_[it->second], content)) return std::nullopt;
  return it->second;
}

// A block that was evicted meanwhile is no entry, or was inserted again after `version`.
// Withdrawals are rare, and may leave the end of a chain findable without its beginning: after one
// nothing is taken for granted.
size_t PrefixCache::NumStillFound(absl::Span<const BlockId> chain, int64_t version) const {
  if (version < last_withdrawal_) return 0;
  size_t left = chain.size();
  while (left > 0) {
    const Entry& last = entries_[chain[left - 1]];
    if (last.in_use && last.inserted_at <= version) break;
    --left;
  }
  return left;
}

bool PrefixCache::Insert(BlockId block, const BlockContent& content) {
  TIDAL_CHECK(!entries_[block].in_use);
  TIDAL_CHECK(content.parent == kNoParent || entries_[content.parent].in_use);
  if (!by_hash_.try_emplace(content.hash, block).second) return false;
  Entry& entry = entries_[block];
  entry.in_use = true;
  entry.hash = content.hash;
  entry.inserted_at = ++version_;
  entry.parent = content.parent;
  entry.num_children = 0;
  entry.tokens.assign(content.tokens.begin(), content.tokens.end());
  if (content.parent == kNoParent) {
    entry.salt.assign(content.salt.data(), content.salt.size());
  } else {
    ++entries_[content.parent].num_children;
  }
  return true;
}

void PrefixCache::Withdraw(BlockId block) {
  TIDAL_CHECK(entries_[block].in_use);
  last_withdrawal_ = ++version_;
  EraseHash(block);
}

void PrefixCache::EraseHash(BlockId block) {
  const auto it = by_hash_.find(entries_[block].hash);
  if (it != by_hash_.end() && it->second == block) by_hash_.erase(it);
}

void PrefixCache::Park(BlockId block) {
  Entry& entry = entries_[block];
  TIDAL_CHECK(entry.in_use && !entry.parked);
  entry.parked = true;
  entry.lru_position = lru_.insert(lru_.end(), block);
}

void PrefixCache::Unpark(BlockId block) {
  Entry& entry = entries_[block];
  TIDAL_CHECK(entry.parked);
  entry.parked = false;
  lru_.erase(entry.lru_position);
}

std::optional<BlockId> PrefixCache::Evict() {
  if (lru_.empty()) return std::nullopt;
  const BlockId block = lru_.front();
  Entry& entry = entries_[block];
  TIDAL_CHECK(entry.num_children == 0);
  lru_.pop_front();
  EraseHash(block);
  if (entry.parent != kNoParent) --entries_[entry.parent].num_children;
  entry = Entry{};
  return block;
}

bool PrefixCache::Holds(const Entry& entry, const BlockContent& content) const {
  if (entry.parent != content.parent) return false;
  if (content.parent == kNoParent && entry.salt != content.salt) return false;
  return std::equal(entry.tokens.begin(), entry.tokens.end(), content.tokens.begin(),
                    content.tokens.end());
}

}  // namespace tidal
