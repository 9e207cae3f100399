// Byte-pair encoding: merges the pair of lowest rank, leftmost first, until none is left.
// Sennrich et al., arXiv 1508.07909; same results as Hugging Face's tokenizers.
#ifndef TIDAL_SERVER_TEXT_BPE_H_
#define TIDAL_SERVER_TEXT_BPE_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/ids.h"

namespace tidal {

// Thread-safe: constant after Prepare().
class Bpe {
 public:
  static constexpr TokenId kNoToken = -1;

  // What a byte becomes before any merge; bytes without a token give nothing, unless one is set for
  // the unknown.
  void SetByteToken(uint8_t byte, TokenId id) { byte_tokens_[byte] = id; }
  // A later merge of the same pair replaces an earlier one.
  void AddMerge(TokenId left, TokenId right, int32_t rank, TokenId result);
  // Finds the tokens that their own bytes encode to, which Encode() then needs no merges for.
  // tokens: (bytes, id); the bytes must outlive this object. With `ignore_merges` every token is
  // taken for its bytes as a whole, whatever the merges would give. Call once, after the above.
  void Prepare(const std::vector<std::pair<std::string_view, TokenId>>& tokens, bool ignore_merges);

  // Appends the ids of one piece. Time n log n in its bytes, for any piece.
  void Encode(std::string_view piece, std::vector<TokenId>* ids) const;

  Bpe() { byte_tokens_.fill(kNoToken); }

 private:
  struct Merge {
    int32_t rank;
    TokenId result;
  };
  static constexpr Merge kNoMerge{INT32_MAX, kNoToken};

  Merge FindMerge(TokenId left, TokenId right) const;
  void EncodeShort(std::string_view piece, std::vector<TokenId>* ids) const;
  void EncodeLong(std::string_view piece, std::vector<TokenId>* ids) const;
  void EncodeByMerges(std::string_view piece, std::vector<TokenId>* ids) const;

  std::array<TokenId, 256> byte_tokens_;
  absl::flat_hash_map<uint64_t, Merge> merges_;  // by left << 32 | right
  absl::flat_hash_map<std::string_view, TokenId> whole_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_BPE_H_
