// What --model names, told from what people take for a model folder.
#ifndef TIDAL_SERVER_CONFIG_MODEL_FOLDER_H_
#define TIDAL_SERVER_CONFIG_MODEL_FOLDER_H_

#include <string>

#include "absl/status/status.h"

namespace tidal {

// OK for a folder that may be a model; whether it is, its loader says. INVALID_ARGUMENT "model:
// must be ..., got ..." says what `path` is instead and what to do with it: an id of a hub, a GGUF
// file, one file of weights, an adapter, a hub's cache; unless `weights` is false, also a folder
// whose weights are of another form than safetensors. Looks at names and first bytes only.
absl::Status CheckModelFolder(const std::string& path, bool weights);

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_MODEL_FOLDER_H_
