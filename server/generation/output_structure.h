// What a request asks its outputs to be: an answer of a kind, calls that have to be made, reasoning
// that has to end.
#ifndef TIDAL_SERVER_GENERATION_OUTPUT_STRUCTURE_H_
#define TIDAL_SERVER_GENERATION_OUTPUT_STRUCTURE_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/tidal/v1/inference.pb.h"
#include "server/generation/reply_parts.h"
#include "server/generation/served_model.h"

namespace tidal {

inline constexpr int kMaxTools = 256;
inline constexpr size_t kMaxToolNameBytes = 128;
inline constexpr size_t kMaxStructureBytes = 2 << 20;

// INVALID_ARGUMENT "chat.tools[3].function.name: must ..." for tools that no call could name.
absl::Status CheckTools(const v1::Chat& chat);

// The structural tag of the request's outputs; nothing where any will do. `parsing`: what is taken
// out of its replies. INVALID_ARGUMENT names the field.
absl::StatusOr<std::optional<std::string>> OutputStructure(const v1::GenerateRequest& request,
                                                           const ReplyParsing& parsing,
                                                           const ServedModel& model);

}  // namespace tidal

#endif  // TIDAL_SERVER_GENERATION_OUTPUT_STRUCTURE_H_
