// Texts that a grammar allows: tokens of tidal-nano, drawn from those its masks leave.
#ifndef TIDAL_TESTS_SERVER_GRAMMAR_GRAMMAR_WALK_H_
#define TIDAL_TESTS_SERVER_GRAMMAR_GRAMMAR_WALK_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/base/ids.h"
#include "server/grammar/grammar_compiler.h"
#include "server/grammar/xgrammar_border.h"
#include "server/text/tokenizer.h"

namespace tidal {

inline constexpr int32_t kWalkVocab = 4100;  // of the logits: some more than tidal-nano's tokens
inline constexpr TokenId kWalkEnd = 6;       // <|end|>

inline const Tokenizer& WalkTokenizer() {
  static const auto* const tokenizer = Tokenizer::Load("models/tidal-nano").value().release();
  return *tokenizer;
}

inline GrammarLibrary& WalkLibrary() {
  static auto* const library =
      MakeGrammarLibrary(WalkTokenizer(), kWalkVocab, {kWalkEnd}).release();
  return *library;
}

inline bool Allows(const std::vector<uint32_t>& mask, TokenId token) {
  return mask[token / 32] >> (token % 32) & 1;
}

inline std::vector<uint32_t> MaskOf(TokenConstraint& constraint) {
  std::vector<uint32_t> mask((kWalkVocab + 31) / 32, ~0u);
  constraint.FillMask(absl::MakeSpan(mask));
  return mask;
}

// The tokens up to the end token, which is not among them; at most `most`. `prefer` tokens where
// they are allowed, in their order.
inline std::vector<TokenId> Walk(const CompiledStructure& structure, uint32_t seed, int most = 400,
                                 const std::vector<TokenId>& prefer = {}) {
  const auto constraint = structure.MakeConstraint(0);
  std::mt19937 random(seed);
  std::vector<TokenId> tokens;
  while (static_cast<int>(tokens.size()) < most) {
    const std::vector<uint32_t> mask = MaskOf(*constraint);
    std::vector<TokenId> allowed;
    for (TokenId id = 0; id < kWalkVocab; ++id) {
      if (Allows(mask, id)) allowed.push_back(id);
    }
    if (allowed.empty()) {
      ADD_FAILURE() << "nothing is allowed";
      return tokens;
    }
    EXPECT_LT(allowed.back(), WalkTokenizer().vocab_size());
    TokenId token = allowed[random() % allowed.size()];
    for (const TokenId wanted : prefer) {
      if (Allows(mask, wanted)) {
        token = wanted;
        break;
      }
    }
    EXPECT_TRUE(constraint->Accept(token));
    if (constraint->complete()) {
      EXPECT_EQ(token, kWalkEnd);
      return tokens;
    }
    tokens.push_back(token);
  }
  return tokens;
}

inline std::string TextOf(const std::vector<TokenId>& tokens) {
  std::string text;  // Decode() would strip a space
  for (const TokenId token : tokens) text += WalkTokenizer().TokenBytes(token);
  return text;
}

// Whether the text can be said whole, and may end then.
inline bool Accepts(const CompiledStructure& structure, const std::string& text) {
  const auto constraint = structure.MakeConstraint(0);
  const auto tokens = WalkTokenizer().Encode(text, /*add_special_tokens=*/false);
  EXPECT_TRUE(tokens.ok());
  for (const TokenId token : *tokens) {
    if (!Allows(MaskOf(*constraint), token) || !constraint->Accept(token)) return false;
  }
  return Allows(MaskOf(*constraint), kWalkEnd);
}

}  // namespace tidal

#endif  // TIDAL_TESTS_SERVER_GRAMMAR_GRAMMAR_WALK_H_
