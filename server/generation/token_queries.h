// Text to tokens and back for a client that wants nothing generated: what takes a tokenizer's time
// and a reply's memory, within bounds.
#ifndef TIDAL_SERVER_GENERATION_TOKEN_QUERIES_H_
#define TIDAL_SERVER_GENERATION_TOKEN_QUERIES_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "proto/tidal/v1/inference.pb.h"
#include "server/generation/served_model.h"

namespace tidal {

// A large document, and in any case a whole context of the model. Memory sets the limits: a
// tokenizer needs 36 bytes for a byte of its worst text, a reply 100 for a token with its string.
// So no query takes more than 64 MiB where the model's length is below 200K, and about 300 bytes
// for each token of it above.
struct TokenQueryLimits {
  int64_t text_bytes;   // to be tokenized
  int64_t token_ids;    // to be text; and tokens whose strings are wanted
  int64_t reply_bytes;  // of text
};
TokenQueryLimits LimitsOfTokenQueries(int32_t max_model_len);

// INVALID_ARGUMENT names the field and the limit, NOT_FOUND a model that is not served.
// Thread-safe.
absl::StatusOr<v1::TokenizeResponse> Tokenize(const v1::TokenizeRequest& request,
                                              const ServedModel& model);
absl::StatusOr<v1::DetokenizeResponse> Detokenize(const v1::DetokenizeRequest& request,
                                                  const ServedModel& model);

}  // namespace tidal

#endif  // TIDAL_SERVER_GENERATION_TOKEN_QUERIES_H_
