#include "server/text/bpe.h"

#include <algorithm>
#include <functional>

#include "absl/strings/string_view.h"
#include "engine/base/status_macros.h"
#include "server/text/byte_level.h"
#include "server/text/concat.h"
#include "server/text/utf8.h"

namespace tidal {
namespace {

// Up to this many symbols, looking over all pairs for the lowest rank is faster than a heap.
constexpr size_t kFewSymbols = 48;

uint64_t PairKey(uint32_t left, uint32_t right) {
  return static_cast<uint64_t>(left) << 32 | right;
}

template <typename Map>
auto FindText(const Map& map, std::string_view text) {
  return map.find(absl::string_view(text.data(), text.size()));
}

std::string FallbackToken(int byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return Concat("<0x", kDigits.substr(byte >> 4, 1), kDigits.substr(byte & 15, 1), ">");
}

}  // namespace

absl::StatusOr<Bpe> Bpe::Make(const BpeConfig& config) {
  Vocabulary vocabulary(config.vocab.begin(), config.vocab.end());
  Bpe bpe;
  bpe.byte_level_ = config.byte_level;
  bpe.ignore_merges_ = config.ignore_merges;
  bpe.fuse_unk_ = config.fuse_unk;
  bpe.prefix_ = config.continuing_subword_prefix;
  bpe.suffix_ = config.end_of_word_suffix;
  if (config.unk_token.has_value()) {
    const auto unk = vocabulary.find(*config.unk_token);
    if (unk == vocabulary.end()) {
      return absl::InvalidArgumentError(Concat(
          "model.unk_token: must be a token of the vocabulary, got \"", *config.unk_token, "\""));
    }
    bpe.unk_ = unk->second;
  }
  TIDAL_RETURN_IF_ERROR(bpe.AddMerges(config, vocabulary));
  bpe.AddUnits(vocabulary);
  if (config.byte_fallback) bpe.AddFallback(vocabulary);
  bpe.AddWholeTokens(config);
  if (bpe.has_affixes()) bpe.affixed_ = std::move(vocabulary);
  return bpe;
}

absl::Status Bpe::AddMerges(const BpeConfig& config, const Vocabulary& vocabulary) {
  for (size_t rank = 0; rank < config.merges.size(); ++rank) {
    const auto& [left, right] = config.merges[rank];
    const auto a = vocabulary.find(left), b = vocabulary.find(right);
    const auto whole = right.size() < prefix_.size()
                           ? vocabulary.end()
                           : vocabulary.find(left + right.substr(prefix_.size()));
    if (a == vocabulary.end() || b == vocabulary.end() || whole == vocabulary.end()) {
      return absl::InvalidArgumentError(Concat("model.merges[", rank,
                                               "]: must be two tokens of the vocabulary that make ",
                                               "a third, got \"", left, "\" and \"", right, "\""));
    }
    // A later merge of the same pair replaces an earlier one.
    merges_.insert_or_assign(PairKey(a->second, b->second),
                             Merge{static_cast<int32_t>(rank), whole->second});
    if (left.empty() || right.empty()) continue;
    const std::string left_text = byte_level_ ? ByteLevelToBytes(left) : left;
    const std::string right_text = byte_level_ ? ByteLevelToBytes(right) : right;
    const uint32_t before = LastUnit(left_text), after = ReadUnit(right_text).value;
    if ((before | after) < 256) {
      low_joins_.set(before << 8 | after);
    } else {
      high_joins_.insert(PairKey(before, after));
    }
  }
  return absl::OkStatus();
}

void Bpe::AddUnits(const Vocabulary& vocabulary) {
  low_units_.fill(kNoToken);
  for (const auto& [token, id] : vocabulary) {
    const std::string text = byte_level_ && IsByteLevel(token) ? ByteLevelToBytes(token) : token;
    if (text.empty() || (byte_level_ && !IsByteLevel(token))) continue;
    const Unit unit = ReadUnit(text);
    if (unit.length != text.size()) continue;
    (unit.value < 256 ? low_units_[unit.value] : high_units_[unit.value]) = id;
  }
}

void Bpe::AddFallback(const Vocabulary& vocabulary) {
  fallback_.emplace();
  for (int byte = 0; byte < 256; ++byte) {
    const auto it = vocabulary.find(FallbackToken(byte));
    (*fallback_)[byte] = it == vocabulary.end() ? kNoToken : it->second;
  }
}

void Bpe::AddWholeTokens(const BpeConfig& config) {
  // What a token's own text encodes to depends on nothing around it only without these.
  if (has_affixes() && !ignore_merges_) return;
  Vocabulary whole;
  std::vector<TokenId> ids;
  for (const auto& [token, id] : config.vocab) {
    if (token.empty() || (byte_level_ && !IsByteLevel(token))) continue;
    std::string text = byte_level_ ? ByteLevelToBytes(token) : token;
    if (!ignore_merges_) {
      ids.clear();
      Encode(text, &ids);
      if (ids.size() != 1 || ids[0] != id) continue;
    }
    whole.emplace(std::move(text), id);
  }
  whole_ = std::move(whole);
}

Bpe::Unit Bpe::ReadUnit(std::string_view text) const {
  if (byte_level_) return {static_cast<uint8_t>(text[0]), 1};
  const Utf8Unit unit = ReadUtf8(text);
  return {unit.code_point, unit.length};
}

uint32_t Bpe::LastUnit(std::string_view text) const {
  return ReadUnit(text.substr(byte_level_ ? text.size() - 1 : PreviousCodePoint(text, text.size())))
      .value;
}

TokenId Bpe::FindUnit(uint32_t unit) const {
  if (unit < 256) return low_units_[unit];
  const auto it = high_units_.find(unit);
  return it == high_units_.end() ? kNoToken : it->second;
}

bool Bpe::MayJoin(uint32_t left, uint32_t right) const {
  return (left | right) < 256 ? low_joins_[left << 8 | right]
                              : high_joins_.contains(PairKey(left, right));
}

bool Bpe::PushWhole(std::string_view text, std::vector<TokenId>* ids) const {
  const auto it = FindText(whole_, text);
  if (it == whole_.end()) return false;
  ids->push_back(it->second);
  return true;
}

Bpe::Merge Bpe::FindMerge(TokenId left, TokenId right) const {
  const auto it = merges_.find(PairKey(left, right));
  return it == merges_.end() ? kNoMerge : it->second;
}

// Between two units that have tokens, and that no merge brings together, nothing is ever merged:
// what is left and right of there is encoded by itself. So a text without spaces is encoded word
// by word all the same.
void Bpe::Encode(std::string_view piece, std::vector<TokenId>* ids) const {
  if (PushWhole(piece, ids)) return;
  if (has_affixes()) return EncodeStretch(piece, ids);
  size_t begin = 0;
  uint32_t previous = 0;
  bool previous_known = false;
  for (size_t at = 0; at < piece.size();) {
    const Unit unit = ReadUnit(piece.substr(at));
    const bool known = FindUnit(unit.value) != kNoToken;
    if (known && previous_known && !MayJoin(previous, unit.value)) {
      EncodeStretch(piece.substr(begin, at - begin), ids);
      begin = at;
    }
    previous = unit.value;
    previous_known = known;
    at += unit.length;
  }
  EncodeStretch(piece.substr(begin), ids);
}

void Bpe::EncodeStretch(std::string_view stretch, std::vector<TokenId>* ids) const {
  if (!ignore_merges_ && PushWhole(stretch, ids)) return;
  Symbols symbols = ToSymbols(stretch);
  symbols.size() <= kFewSymbols ? MergeFew(&symbols) : MergeMany(&symbols);
  ids->insert(ids->end(), symbols.begin(), symbols.end());
}

// A unit as the vocabulary writes it.
std::string Bpe::Write(std::string_view unit, bool first, bool last) const {
  const std::string written = byte_level_ ? BytesToByteLevel(unit) : std::string(unit);
  return Concat(first ? "" : prefix_, written, last ? suffix_ : "");
}

bool Bpe::PushFallback(std::string_view written, Symbols* symbols) const {
  for (const char byte : written) {
    if ((*fallback_)[static_cast<uint8_t>(byte)] == kNoToken) return false;
  }
  for (const char byte : written) symbols->push_back((*fallback_)[static_cast<uint8_t>(byte)]);
  return true;
}

Bpe::Symbols Bpe::ToSymbols(std::string_view stretch) const {
  Symbols symbols;
  bool unk_pending = false;  // written before the next unit that has a token
  for (size_t at = 0; at < stretch.size();) {
    const Unit unit = ReadUnit(stretch.substr(at));
    const std::string_view text = stretch.substr(at, unit.length);
    const bool first = at == 0, last = at + unit.length == stretch.size();
    at += unit.length;
    TokenId id = kNoToken;
    if (!has_affixes()) {
      id = FindUnit(unit.value);
    } else if (const auto it = affixed_.find(Write(text, first, last)); it != affixed_.end()) {
      id = it->second;
    }
    if (id != kNoToken) {
      if (unk_pending) symbols.push_back(unk_);
      unk_pending = false;
      symbols.push_back(id);
    } else if (fallback_.has_value() && PushFallback(Write(text, first, last), &symbols)) {
      // An unknown token before these bytes comes after them: as in the library.
    } else if (unk_ != kNoToken) {
      if (unk_pending && !fuse_unk_) symbols.push_back(unk_);
      unk_pending = true;
    }
  }
  if (unk_pending) symbols.push_back(unk_);
  return symbols;
}

void Bpe::MergeFew(Symbols* symbols) const {
  std::array<Merge, kFewSymbols> merges;  // of symbols i and i + 1
  Symbols& s = *symbols;
  for (size_t i = 0; i + 1 < s.size(); ++i) merges[i] = FindMerge(s[i], s[i + 1]);
  while (s.size() > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < s.size(); ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == kNoMerge.rank) break;
    s[best] = merges[best].result;
    std::move(merges.begin() + best + 1, merges.begin() + s.size() - 1, merges.begin() + best);
    s.erase(s.begin() + best + 1);
    if (best > 0) merges[best - 1] = FindMerge(s[best - 1], s[best]);
    if (best + 1 < s.size()) merges[best] = FindMerge(s[best], s[best + 1]);
  }
}

void Bpe::MergeMany(Symbols* symbols) const {
  struct Node {
    TokenId id;              // kNoToken: merged into the one before it
    int32_t previous, next;  // -1: none
  };
  const auto count = static_cast<int32_t>(symbols->size());
  std::vector<Node> nodes;
  nodes.reserve(count);
  for (int32_t i = 0; i < count; ++i) nodes.push_back({(*symbols)[i], i - 1, i + 1});
  nodes.back().next = -1;

  struct Candidate {
    int32_t rank;
    TokenId result;
    int32_t left;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  std::vector<Candidate> queue;  // a heap, the lowest rank at the front
  queue.reserve(count);
  const auto offer = [&](int32_t left) {
    if (left < 0 || nodes[left].next < 0) return false;
    const Merge merge = FindMerge(nodes[left].id, nodes[nodes[left].next].id);
    if (merge.rank == kNoMerge.rank) return false;
    queue.push_back({merge.rank, merge.result, left});
    return true;
  };
  for (int32_t i = 0; i < count; ++i) offer(i);
  std::make_heap(queue.begin(), queue.end(), std::greater<>());
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    const Candidate top = queue.back();
    queue.pop_back();
    Node& left = nodes[top.left];
    if (left.id == kNoToken || left.next < 0) continue;
    Node& right = nodes[left.next];
    // The pair may have changed since it was offered; it was then offered again.
    if (FindMerge(left.id, right.id).result != top.result) continue;
    left.id = top.result;
    right.id = kNoToken;
    left.next = right.next;
    if (left.next >= 0) nodes[left.next].previous = top.left;
    for (const int32_t changed : {left.previous, top.left}) {
      if (offer(changed)) std::push_heap(queue.begin(), queue.end(), std::greater<>());
    }
  }
  symbols->clear();
  for (int32_t i = 0; i >= 0; i = nodes[i].next) symbols->push_back(nodes[i].id);
}

}  // namespace tidal
