#include "server/observe/tracing_options.h"

#include "absl/strings/str_cat.h"
#include "server/observe/http_url.h"

namespace tidal {

absl::Status TracingOptions::Validate() const {
  if (!(otlp_sample_ratio >= 0 && otlp_sample_ratio <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("otlp_sample_ratio: must be in [0, 1], got ", otlp_sample_ratio));
  }
  if (otlp_endpoint.empty()) return absl::OkStatus();
  const absl::Status status = ParseHttpUrl(otlp_endpoint).status();
  if (status.ok()) return status;
  return absl::InvalidArgumentError(absl::StrCat("otlp_endpoint: ", status.message()));
}

}  // namespace tidal
