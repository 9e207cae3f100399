// Finds blocks by what they hold, and keeps blocks nobody references until their memory is wanted.
#ifndef TIDAL_SCHEDULER_PREFIX_CACHE_H_
#define TIDAL_SCHEDULER_PREFIX_CACHE_H_

#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/base/ids.h"

namespace tidal {

// The content of one full block: its tokens, and everything before them.
struct BlockContent {
  uint64_t hash;   // chained: of `tokens` and of the hash of the block before, or of the salt
  BlockId parent;  // the cache entry of the block before, or kNoParent
  absl::Span<const TokenId> tokens;  // block_size of them
  absl::string_view salt;            // compared for the first block only: the chain carries it on
};

// The entries form trees: an entry is its tokens behind its parent. A hash only finds an entry; the
// tokens, the parent and the salt are compared, so a collision can cost a hit but never give
// another prompt's KV.
//
// Whoever references an entry's block references its parent's too, and lets go of the entry first.
// So entries are parked children first, and eviction (least recently parked first) never takes an
// entry that others hang on. Not thread-safe.
class PrefixCache {
 public:
  static constexpr BlockId kNoParent = -1;

  explicit PrefixCache(int32_t num_blocks);

  // The hash before a prompt's first block, and after one more block.
  static uint64_t RootHash(absl::string_view salt);
  static uint64_t ChainHash(uint64_t previous, absl::Span<const TokenId> tokens);

  // The block with this content, if there is one.
  std::optional<BlockId> Find(const BlockContent& content) const;
  // When something is found: a clock that ticks with every insertion and withdrawal.
  int64_t version() const { return version_; }
  // Of entries that Find() gave at this version, each the parent of the next: how many it gives
  // still. They are the first so many, since a child is evicted before its parent.
  size_t NumStillFound(absl::Span<const BlockId> chain, int64_t version) const;

  // Makes `block` findable. False when another content with the same hash is in the way.
  // Precondition: Find(content) is empty, `block` is no entry, the parent is one.
  bool Insert(BlockId block, const BlockContent& content);

  // From here on nobody finds the entry, nor what hangs on it. Who holds it keeps it, and its block
  // comes back as any entry's does.
  void Withdraw(BlockId block);

  // An entry's last reference went, or its first came back.
  void Park(BlockId block);
  void Unpark(BlockId block);
  // Removes the least recently parked entry; its block is the caller's. Empty when none is parked.
  std::optional<BlockId> Evict();

  bool IsEntry(BlockId block) const { return entries_[block].in_use; }
  bool IsParked(BlockId block) const { return entries_[block].parked; }
  int32_t num_parked() const { return static_cast<int32_t>(lru_.size()); }
  std::vector<BlockId> ParkedBlocks() const { return {lru_.begin(), lru_.end()}; }

 private:
  struct Entry {
    bool in_use = false;
    bool parked = false;
    uint64_t hash = 0;
    int64_t inserted_at = 0;  // version
    BlockId parent = kNoParent;
    int32_t num_children = 0;
    std::vector<TokenId> tokens;
    std::string salt;                           // of a first block
    std::list<BlockId>::iterator lru_position;  // while parked
  };

  // A withdrawn entry's hash may lead to another one by now.
  void EraseHash(BlockId block);
  bool Holds(const Entry& entry, const BlockContent& content) const;

  std::vector<Entry> entries_;  // [num_blocks], by block
  absl::flat_hash_map<uint64_t, BlockId> by_hash_;
  std::list<BlockId> lru_;  // parked entries, the next to evict first
  int64_t version_ = 0, last_withdrawal_ = 0;
};

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_PREFIX_CACHE_H_
