#include "server/text/bpe.h"

#include <algorithm>
#include <queue>

namespace tidal {
namespace {

// Up to this many bytes, looking over all pairs for the lowest rank is faster than a heap.
constexpr size_t kShortPiece = 48;

uint64_t PairKey(TokenId left, TokenId right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

void Bpe::AddMerge(TokenId left, TokenId right, int32_t rank, TokenId result) {
  merges_.insert_or_assign(PairKey(left, right), Merge{rank, result});
}

Bpe::Merge Bpe::FindMerge(TokenId left, TokenId right) const {
  const auto it = merges_.find(PairKey(left, right));
  return it == merges_.end() ? kNoMerge : it->second;
}

void Bpe::Prepare(const std::vector<std::pair<std::string_view, TokenId>>& tokens,
                  bool ignore_merges) {
  std::vector<TokenId> ids;
  for (const auto& [bytes, id] : tokens) {
    if (bytes.empty()) continue;
    if (!ignore_merges) {
      ids.clear();
      EncodeByMerges(bytes, &ids);
      if (ids.size() != 1 || ids[0] != id) continue;
    }
    whole_.insert_or_assign(bytes, id);
  }
}

void Bpe::Encode(std::string_view piece, std::vector<TokenId>* ids) const {
  if (const auto it = whole_.find(piece); it != whole_.end()) {
    ids->push_back(it->second);
    return;
  }
  EncodeByMerges(piece, ids);
}

void Bpe::EncodeByMerges(std::string_view piece, std::vector<TokenId>* ids) const {
  piece.size() <= kShortPiece ? EncodeShort(piece, ids) : EncodeLong(piece, ids);
}

void Bpe::EncodeShort(std::string_view piece, std::vector<TokenId>* ids) const {
  std::array<TokenId, kShortPiece> symbols;
  std::array<Merge, kShortPiece> merges;  // of symbols i and i + 1
  size_t count = 0;
  for (const char c : piece) {
    const TokenId id = byte_tokens_[static_cast<uint8_t>(c)];
    if (id != kNoToken) symbols[count++] = id;
  }
  for (size_t i = 0; i + 1 < count; ++i) merges[i] = FindMerge(symbols[i], symbols[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == kNoMerge.rank) break;
    symbols[best] = merges[best].result;
    std::move(symbols.begin() + best + 2, symbols.begin() + count, symbols.begin() + best + 1);
    std::move(merges.begin() + best + 1, merges.begin() + count - 1, merges.begin() + best);
    --count;
    if (best > 0) merges[best - 1] = FindMerge(symbols[best - 1], symbols[best]);
    if (best + 1 < count) merges[best] = FindMerge(symbols[best], symbols[best + 1]);
  }
  ids->insert(ids->end(), symbols.begin(), symbols.begin() + count);
}

void Bpe::EncodeLong(std::string_view piece, std::vector<TokenId>* ids) const {
  struct Symbol {
    TokenId id;              // kNoToken: merged into the one before it
    int64_t previous, next;  // -1: none
  };
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  for (const char c : piece) {
    const TokenId id = byte_tokens_[static_cast<uint8_t>(c)];
    const int64_t at = static_cast<int64_t>(symbols.size());
    if (id != kNoToken) symbols.push_back({id, at - 1, at + 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;

  struct Candidate {
    int32_t rank;
    TokenId result;
    int64_t left;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto offer = [&](int64_t left) {
    if (left < 0 || symbols[left].next < 0) return;
    const Merge merge = FindMerge(symbols[left].id, symbols[symbols[left].next].id);
    if (merge.rank != kNoMerge.rank) queue.push({merge.rank, merge.result, left});
  };
  for (size_t i = 0; i < symbols.size(); ++i) offer(static_cast<int64_t>(i));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbols[top.left];
    if (left.id == kNoToken || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    // The pair may have changed since it was offered; it was then offered again.
    if (FindMerge(left.id, right.id).result != top.result) continue;
    left.id = top.result;
    right.id = kNoToken;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].previous = top.left;
    offer(left.previous);
    offer(top.left);
  }
  for (int64_t i = 0; i >= 0; i = symbols[i].next) ids->push_back(symbols[i].id);
}

}  // namespace tidal
