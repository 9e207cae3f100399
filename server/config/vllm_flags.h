// The flags of `vllm serve` that have another name here, hold anyway, or have no counterpart.
#ifndef TIDAL_SERVER_CONFIG_VLLM_FLAGS_H_
#define TIDAL_SERVER_CONFIG_VLLM_FLAGS_H_

#include "absl/strings/string_view.h"

namespace tidal {

// One that is called here as in vLLM has no entry.
struct VllmFlag {
  absl::string_view name;  // with underscores for vLLM's dashes
  // Ours of the same meaning; empty: there is none.
  absl::string_view flag = "";
  bool opposite = false;  // ours, a switch, is on where this one is off
  // Without one of ours: a value is part of it; else it is a switch, on where it stands alone.
  bool takes_value = true;
  // The values, with commas between, that this program has anyway: they are taken, and set nothing.
  absl::string_view same = "";
  // What to do instead of any other value; ends an error.
  absl::string_view hint = "";
};

// Null where vLLM has no such flag, or the same one.
const VllmFlag* FindVllmFlag(absl::string_view name);

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_VLLM_FLAGS_H_
