// How a flag may be written, on the command line and in files: by its name, with dashes for
// underscores, a switch also with "no" or "no-" before it; or by the name that vLLM has for it.
#ifndef TIDAL_SERVER_CONFIG_FLAG_SPELLING_H_
#define TIDAL_SERVER_CONFIG_FLAG_SPELLING_H_

#include <optional>
#include <string>

#include "absl/flags/commandlineflag.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/config/vllm_flags.h"

namespace tidal {

class FlagSpelling {
 public:
  // `written` has no dashes before it. Nothing where this program has no such flag.
  static std::optional<FlagSpelling> Find(absl::string_view written);
  // Then: "; did you mean X?", or "" where there is none like it.
  static std::string Hint(absl::string_view written);

  // Else it is a switch, which may stand alone.
  bool takes_value() const;

  // The flag to set; null: none, the program does so anyway, as Value() checks.
  absl::CommandLineFlag* flag() const { return flag_; }

  // What flag() is to be set to where `given` is written, as text that the flag parses.
  // INVALID_ARGUMENT "NAME: must be ..., got ..." where vLLM's flag has no counterpart for it.
  absl::StatusOr<std::string> Value(const std::string& given) const;

 private:
  FlagSpelling(absl::CommandLineFlag* flag, const VllmFlag* vllm, bool opposite)
      : flag_(flag), vllm_(vllm), opposite_(opposite) {}
  static std::optional<FlagSpelling> FindName(const std::string& name);

  absl::CommandLineFlag* flag_;
  const VllmFlag* vllm_;  // not null where flag_ is null
  bool opposite_;         // of a switch: on turns the flag off
};

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_FLAG_SPELLING_H_
