// Limits of a request that are not the model's.
#ifndef TIDAL_SERVER_GENERATION_REQUEST_LIMITS_H_
#define TIDAL_SERVER_GENERATION_REQUEST_LIMITS_H_

#include <cstddef>
#include <cstdint>

namespace tidal {

inline constexpr uint32_t kMaxOutputs = 128;
inline constexpr int kMaxStopStrings = 16;
inline constexpr size_t kMaxStopStringBytes = 1024;
inline constexpr int kMaxStopTokenIds = 128;
inline constexpr int kMaxBadWords = 128;
inline constexpr size_t kMaxBadWordBytes = 256;
inline constexpr size_t kMaxRoleBytes = 64;
inline constexpr size_t kMaxRequestIdBytes = 256;
inline constexpr size_t kMaxCacheSaltBytes = 256;
// Of a request: its prompt's tokens times the log probabilities of each times its outputs, some 60
// bytes each; and of a reply to several prompts.
inline constexpr int64_t kMaxPromptLogprobs = 1 << 20;
inline constexpr int64_t kMaxReplyLogprobs = 1 << 22;
// Of a request with logprob_token_ids: its max_tokens times the log probabilities of each times its
// outputs.
inline constexpr int64_t kMaxGivenLogprobs = 1 << 20;
// Of what Tokenize and Detokenize are sent, as gRPC or as HTTP carries it.
inline constexpr size_t kMaxTokenQueryBytes = 8 << 20;

}  // namespace tidal

#endif  // TIDAL_SERVER_GENERATION_REQUEST_LIMITS_H_
