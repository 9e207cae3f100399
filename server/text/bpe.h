// Byte-pair encoding: merges the pair of lowest rank, leftmost first, until none is left.
// Sennrich et al., arXiv 1508.07909; same results as Hugging Face's tokenizers.
#ifndef TIDAL_SERVER_TEXT_BPE_H_
#define TIDAL_SERVER_TEXT_BPE_H_

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "engine/base/ids.h"

namespace tidal {

// The model of a tokenizer.json.
struct BpeConfig {
  std::vector<std::pair<std::string, TokenId>> vocab;       // ids are unique
  std::vector<std::pair<std::string, std::string>> merges;  // by rank
  // A unit of a piece, before any merge, is a byte, which the vocabulary writes in the byte-level
  // alphabet; otherwise a code point.
  bool byte_level = false;
  bool ignore_merges = false;  // a piece that is a token becomes it, whatever the merges give
  std::optional<std::string> unk_token;  // for units without a token, which else give nothing
  bool fuse_unk = false;                 // one unk_token for a run of such units
  bool byte_fallback = false;            // before unk_token: tokens <0x00> to <0xFF>
  // Written before every unit of a piece but the first, and after the last.
  std::string continuing_subword_prefix, end_of_word_suffix;
};

// Thread-safe: constant once made.
class Bpe {
 public:
  // INVALID_ARGUMENT naming the field of a merge or unknown token that is not of the vocabulary.
  static absl::StatusOr<Bpe> Make(const BpeConfig& config);

  // Appends the ids of one piece, valid UTF-8. Time n log n in its bytes, for any piece.
  void Encode(std::string_view piece, std::vector<TokenId>* ids) const;

 private:
  struct Merge {
    int32_t rank;
    TokenId result;
  };
  struct Unit {
    uint32_t value;  // byte or code point
    size_t length;   // bytes
  };
  using Symbols = absl::InlinedVector<TokenId, 64>;
  using Vocabulary = absl::flat_hash_map<std::string, TokenId>;
  static constexpr TokenId kNoToken = -1;
  static constexpr Merge kNoMerge{INT32_MAX, kNoToken};

  absl::Status AddMerges(const BpeConfig& config, const Vocabulary& vocabulary);
  void AddUnits(const Vocabulary& vocabulary);
  void AddFallback(const Vocabulary& vocabulary);
  void AddWholeTokens(const BpeConfig& config);

  bool has_affixes() const { return !prefix_.empty() || !suffix_.empty(); }
  Unit ReadUnit(std::string_view text) const;
  uint32_t LastUnit(std::string_view text) const;
  TokenId FindUnit(uint32_t unit) const;
  bool MayJoin(uint32_t left, uint32_t right) const;
  bool PushWhole(std::string_view text, std::vector<TokenId>* ids) const;
  Merge FindMerge(TokenId left, TokenId right) const;

  void EncodeStretch(std::string_view stretch, std::vector<TokenId>* ids) const;
  std::string Write(std::string_view unit, bool first, bool last) const;
  bool PushFallback(std::string_view written, Symbols* symbols) const;
  Symbols ToSymbols(std::string_view stretch) const;
  void MergeFew(Symbols* symbols) const;
  void MergeMany(Symbols* symbols) const;

  bool byte_level_ = false, ignore_merges_ = false, fuse_unk_ = false;
  TokenId unk_ = kNoToken;
  std::string prefix_, suffix_;
  Vocabulary affixed_;                                 // only with a prefix or suffix
  std::array<TokenId, 256> low_units_;                 // of units below 256
  absl::flat_hash_map<uint32_t, TokenId> high_units_;  // of the others
  std::optional<std::array<TokenId, 256>> fallback_;   // kNoToken: this byte has none
  absl::flat_hash_map<uint64_t, Merge> merges_;        // by left << 32 | right
  std::bitset<256 * 256> low_joins_;                   // by left << 8 | right, both below 256
  absl::flat_hash_set<uint64_t> high_joins_;           // by left << 32 | right
  Vocabulary whole_;  // texts that become one token, without asking for merges
};

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_BPE_H_
