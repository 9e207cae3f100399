#include "scheduler/block_manager.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/base/check.h"

namespace tidal {

BlockManager::BlockManager(int32_t num_blocks, int32_t block_size, bool enable_prefix_caching)
    : block_size_(block_size),
      enable_prefix_caching_(enable_prefix_caching),
      allocator_(num_blocks),
      cache_(num_blocks),
      residency_(num_blocks) {}

BlockManager::~BlockManager() {
  while (std::optional<BlockId> block = cache_.Evict()) allocator_.Free(*block);
}

bool BlockManager::CanAllocate(Sequence* sequence, int32_t reserve) {
  const int32_t needed = BlocksFor(sequence->num_tokens()) + reserve;
  if (needed <= num_available()) return true;
  // Blocks it finds are not needed anew if somebody references them. A parked one is, as it would
  // be available no longer. Parked ones come last: who references a block references its parent.
  const std::vector<BlockId>& match = Match(sequence);
  const auto parked = std::partition_point(
      match.begin(), match.end(), [this](BlockId block) { return !cache_.IsParked(block); });
  return needed - static_cast<int32_t>(parked - match.begin()) <= num_available();
}

int32_t BlockManager::Allocate(Sequence* sequence) {
  SequenceBlocks& blocks = sequence->blocks;
  TIDAL_CHECK(blocks.table.empty());
  Match(sequence);
  blocks.table = std::exchange(blocks.match, {});
  blocks.num_published = static_cast<int32_t>(blocks.table.size());
  // Referenced before any block is taken, so that taking cannot evict them.
  for (BlockId block : blocks.table) {
    AddReference(block);
    residency_.OnFound(block);
  }
  const int32_t needed = BlocksFor(sequence->num_tokens());
  while (static_cast<int32_t>(blocks.table.size()) < needed) blocks.table.push_back(TakeBlock());
  return blocks.num_published * block_size_;
}

void BlockManager::Append(Sequence* sequence) {
  TIDAL_CHECK(NeedsBlock(*sequence, /*pending=*/kMaxVerifyTokens));
  sequence->blocks.table.push_back(TakeBlock());
}

void BlockManager::TakeBackUnused(Sequence* sequence) {
  SequenceBlocks& blocks = sequence->blocks;
  const auto used = static_cast<size_t>(BlocksFor(sequence->num_tokens()));
  while (blocks.table.size() > used) {
    DropReference(blocks.table.back());
    blocks.table.pop_back();
  }
  blocks.num_sent = std::min(blocks.num_sent, static_cast<int32_t>(blocks.table.size()));
}

void BlockManager::Publish(Sequence* sequence) {
  if (!enable_prefix_caching_) return;
  SequenceBlocks& blocks = sequence->blocks;
  const int32_t full = sequence->num_exact_tokens() / block_size_;
  if (blocks.num_published >= full) return;
  ExtendHashes(sequence);
  for (int32_t i = blocks.num_published; i < full; ++i) {
    const BlockId parent = i == 0 ? PrefixCache::kNoParent : blocks.table[i - 1];
    const BlockContent content = ContentOf(*sequence, i, parent);
    if (std::optional<BlockId> existing = cache_.Find(content)) {
      AddReference(*existing);
      DropReference(blocks.table[i]);
      blocks.table[i] = *existing;
      blocks.num_sent = std::min(blocks.num_sent, i);
    } else if (!cache_.Insert(blocks.table[i], content)) {
      return;  // a hash collision: what follows cannot hang on a parent that is no entry
    }
    ++blocks.num_published;
  }
}

void BlockManager::Withdraw(const Sequence& sequence) {
  const SequenceBlocks& blocks = sequence.blocks;
  for (int32_t i = 0; i < blocks.num_published; ++i) cache_.Withdraw(blocks.table[i]);
}

void BlockManager::Free(Sequence* sequence) {
  SequenceBlocks& blocks = sequence->blocks;
  // Children before parents, as the prefix cache asks.
  for (auto it = blocks.table.rbegin(); it != blocks.table.rend(); ++it) DropReference(*it);
  // If it comes back, it finds the entries that it found when it was admitted. Those that came
  // since then are newer than match_version, so they are looked up again.
  blocks.match = std::exchange(blocks.table, {});
  blocks.match.resize(std::exchange(blocks.num_published, 0));
  blocks.num_sent = 0;
}

bool BlockManager::EqualPrefixes(Sequence* a, Sequence* b, int32_t num_blocks) const {
  ExtendHashes(a);
  ExtendHashes(b);
  return a->blocks.hashes[num_blocks - 1] == b->blocks.hashes[num_blocks - 1];
}

std::vector<BlockId> BlockManager::RecalledMatch(const Sequence& sequence) const {
  const SequenceBlocks& blocks = sequence.blocks;
  const size_t still_found = cache_.NumStillFound(blocks.match, blocks.match_version);
  return ExtendMatch(sequence, {blocks.match.begin(), blocks.match.begin() + still_found});
}

std::vector<BlockId> BlockManager::FreshMatch(const Sequence& sequence) const {
  return ExtendMatch(sequence, {});
}

int32_t BlockManager::NumExclusiveBlocks(const Sequence& sequence) const {
  // They come last: who references a block references its parent.
  const std::vector<BlockId>& table = sequence.blocks.table;
  const auto exclusive = std::partition_point(table.begin(), table.end(), [this](BlockId block) {
    return allocator_.ref_count(block) > 1;
  });
  return static_cast<int32_t>(table.end() - exclusive);
}

void BlockManager::ExtendHashes(Sequence* sequence) const {
  std::vector<uint64_t>& hashes = sequence->blocks.hashes;
  const int32_t full = sequence->num_tokens() / block_size_;
  for (int32_t i = static_cast<int32_t>(hashes.size()); i < full; ++i) {
    const uint64_t previous =
        i == 0 ? PrefixCache::RootHash(sequence->request().cache_salt) : hashes.back();
    hashes.push_back(PrefixCache::ChainHash(
        previous, sequence->tokens().subspan(static_cast<size_t>(i) * block_size_, block_size_)));
  }
}

BlockContent BlockManager::ContentOf(const Sequence& sequence, int32_t index,
                                     BlockId parent) const {
  return {sequence.blocks.hashes[index], parent,
          sequence.tokens().subspan(static_cast<size_t>(index) * block_size_, block_size_),
          sequence.request().cache_salt};
}

const std::vector<BlockId>& BlockManager::Match(Sequence* sequence) const {
  SequenceBlocks& blocks = sequence->blocks;
  if (!enable_prefix_caching_) return blocks.match;
  if (sequence->wants_prompt_logprobs()) {  // every token is run for what it says of the next
    blocks.match.clear();
    return blocks.match;
  }
  ExtendHashes(sequence);
  blocks.match.resize(cache_.NumStillFound(blocks.match, blocks.match_version));
  blocks.match = ExtendMatch(*sequence, std::move(blocks.match));
  blocks.match_version = cache_.version();
  return blocks.match;
}

std::vector<BlockId> BlockManager::ExtendMatch(const Sequence& sequence,
                                               std::vector<BlockId> matched) const {
  // The last token is always computed: its row gives the logits.
  const size_t most =
      std::min<size_t>((sequence.num_tokens() - 1) / block_size_, sequence.blocks.hashes.size());
  if (matched.size() > most) matched.resize(most);
  BlockId parent = matched.empty() ? PrefixCache::kNoParent : matched.back();
  for (size_t i = matched.size(); i < most; ++i) {
    std::optional<BlockId> block =
        cache_.Find(ContentOf(sequence, static_cast<int32_t>(i), parent));
    if (!block) break;
    matched.push_back(*block);
    parent = *block;
  }
  return matched;
}

BlockId BlockManager::TakeBlock() {
  if (allocator_.num_free() == 0) {
    std::optional<BlockId> evicted = cache_.Evict();
    TIDAL_CHECK(evicted.has_value());
    residency_.OnEvicted(*evicted);
    allocator_.Free(*evicted);
  }
  const BlockId block = allocator_.Take();
  residency_.OnTaken(block);
  return block;
}

void BlockManager::AddReference(BlockId block) {
  if (cache_.IsParked(block)) cache_.Unpark(block);
  allocator_.AddReference(block);
}

void BlockManager::DropReference(BlockId block) {
  if (allocator_.DropReference(block) > 0) return;
  if (cache_.IsEntry(block)) {
    cache_.Park(block);
  } else {
    allocator_.Free(block);
  }
}

}  // namespace tidal
