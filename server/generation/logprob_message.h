// Log probabilities as clients see them: with the texts of their tokens.
#ifndef TIDAL_SERVER_GENERATION_LOGPROB_MESSAGE_H_
#define TIDAL_SERVER_GENERATION_LOGPROB_MESSAGE_H_

#include "engine/step.h"
#include "proto/tidal/v1/inference.pb.h"
#include "server/text/tokenizer.h"

namespace tidal {

v1::TokenLogprobs MakeTokenLogprobs(const SampledToken& token, const Tokenizer& tokenizer);

// Of a token of the prompt, with ranks.
v1::TokenLogprobs MakeTokenLogprobs(TokenId id, const PromptLogprob& logprob,
                                    const Tokenizer& tokenizer);
// Of its first token, which has no probability.
v1::TokenLogprobs MakeFirstTokenLogprobs(TokenId id, const Tokenizer& tokenizer);

}  // namespace tidal

#endif  // TIDAL_SERVER_GENERATION_LOGPROB_MESSAGE_H_
