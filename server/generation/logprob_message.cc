#include "server/generation/logprob_message.h"

#include <string>
#include <vector>

namespace tidal {
namespace {

v1::Logprob MakeLogprob(TokenId id, float logprob, const Tokenizer& tokenizer) {
  v1::Logprob out;
  out.set_token_id(static_cast<uint32_t>(id));
  out.set_token(tokenizer.Decode({&id, 1}, /*skip_special_tokens=*/false));
  out.set_bytes(std::string(tokenizer.TokenBytes(id)));
  out.set_logprob(logprob);
  return out;
}

v1::TokenLogprobs MakeMessage(TokenId id, float logprob, const std::vector<TokenLogprob>& top,
                              const Tokenizer& tokenizer) {
  v1::TokenLogprobs out;
  *out.mutable_token() = MakeLogprob(id, logprob, tokenizer);
  for (const TokenLogprob& other : top) {
    *out.add_top() = MakeLogprob(other.id, other.logprob, tokenizer);
  }
  return out;
}

}  // namespace

v1::TokenLogprobs MakeTokenLogprobs(const SampledToken& token, const Tokenizer& tokenizer) {
  return MakeMessage(token.id, token.logprob, token.top, tokenizer);
}

v1::TokenLogprobs MakeTokenLogprobs(TokenId id, const PromptLogprob& logprob,
                                    const Tokenizer& tokenizer) {
  v1::TokenLogprobs out = MakeMessage(id, logprob.logprob, logprob.top, tokenizer);
  out.mutable_token()->set_rank(static_cast<uint32_t>(logprob.rank));
  for (int i = 0; i < out.top_size(); ++i) {
    out.mutable_top(i)->set_rank(static_cast<uint32_t>(i + 1));
  }
  return out;
}

v1::TokenLogprobs MakeFirstTokenLogprobs(TokenId id, const Tokenizer& tokenizer) {
  return MakeMessage(id, 0, {}, tokenizer);
}

}  // namespace tidal
