// `sampling.allowed_token_ids` and `sampling.bad_words` to the filter of a request's tokens.
#ifndef TIDAL_SERVER_GENERATION_TOKEN_FILTER_REQUEST_H_
#define TIDAL_SERVER_GENERATION_TOKEN_FILTER_REQUEST_H_

#include <memory>

#include "absl/status/statusor.h"
#include "proto/tidal/v1/inference.pb.h"
#include "server/generation/served_model.h"
#include "server/grammar/token_filter.h"

namespace tidal {

// Null where any token may come. INVALID_ARGUMENT "sampling.bad_words[3]: must ..., got ...".
absl::StatusOr<std::shared_ptr<const TokenFilter>> ParseTokenFilter(const v1::Sampling& sampling,
                                                                    const ServedModel& model);

}  // namespace tidal

#endif  // TIDAL_SERVER_GENERATION_TOKEN_FILTER_REQUEST_H_
