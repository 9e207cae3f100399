#include "server/config/model_folder.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace tidal {
namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kNoGguf =
    "GGUF is not supported; give a folder with the model's weights as safetensors";
constexpr absl::string_view kConvert =
    "convert them with Transformers: AutoModelForCausalLM.from_pretrained(FOLDER)"
    ".save_pretrained(NEW_FOLDER), and the same with AutoTokenizer";
constexpr int kMaxNames = 10'000;  // of a folder that are looked at

absl::Status Refuse(absl::string_view path, absl::string_view is) {
  return absl::InvalidArgumentError(absl::StrCat("model: must be a model folder, got ", path, is));
}

bool Exists(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

// ORGANISATION/NAME, where no folder here has the first as its name.
bool IsHubId(absl::string_view path) {
  const std::vector<absl::string_view> parts = absl::StrSplit(path, '/');
  const auto is_name = [](absl::string_view part) {
    return !part.empty() && part != "." && part != ".." && part != "~" &&
           std::all_of(part.begin(), part.end(), [](char c) {
             return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
           });
  };
  return parts.size() == 2 && is_name(parts[0]) && is_name(parts[1]) &&
         !Exists(fs::path(std::string(parts[0])));
}

bool IsPytorch(absl::string_view name) {
  return absl::EndsWith(name, ".bin") || absl::EndsWith(name, ".pt") ||
         absl::EndsWith(name, ".pth") || name == "pytorch_model.bin.index.json";
}

bool IsGgufFile(const std::string& path) {
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof(magic));
  return std::memcmp(magic, "GGUF", sizeof(magic)) == 0 || absl::EndsWith(path, ".gguf");
}

absl::Status RefuseFile(const std::string& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return Refuse(path, ", which is neither folder nor file");
  if (IsGgufFile(path)) return Refuse(path, absl::StrCat(", a GGUF file; ", kNoGguf));
  if (absl::EndsWith(path, ".safetensors")) {
    return Refuse(path,
                  ", one file of weights; give the folder that has it, with config.json and "
                  "tokenizer.json");
  }
  if (IsPytorch(path)) return Refuse(path, absl::StrCat(", PyTorch's weights; ", kConvert));
  return Refuse(path, ", a file");
}

// Sorted, so that errors are the same everywhere.
std::vector<std::string> NamesIn(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (names.size() == kMaxNames) break;
    names.push_back(it->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status CheckFolder(const std::string& path, bool weights) {
  const fs::path folder(path);
  if (Exists(folder / "model.safetensors") || Exists(folder / "model.safetensors.index.json")) {
    return absl::OkStatus();
  }
  if (Exists(folder / "adapter_config.json")) {
    return Refuse(path,
                  ", an adapter (PEFT); adapters are not supported: merge it into its base model "
                  "(merge_and_unload) and give the folder of the result");
  }
  const bool has_config = Exists(folder / "config.json");
  if (!has_config && Exists(folder / "snapshots")) {
    return Refuse(path, ", a hub's cache; give the folder in snapshots/ that has config.json");
  }
  if (!weights && has_config) return absl::OkStatus();
  for (const std::string& name : NamesIn(path)) {
    if (absl::EndsWith(name, ".gguf")) {
      return Refuse(path, absl::StrCat(", which has ", name, "; ", kNoGguf));
    }
    if (IsPytorch(name)) {
      return Refuse(path, absl::StrCat(", which has PyTorch's weights (", name, "); ", kConvert));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckModelFolder(const std::string& path, bool weights) {
  std::error_code error;
  if (fs::is_directory(path, error)) return CheckFolder(path, weights);
  if (Exists(path)) return RefuseFile(path);
  if (!IsHubId(path)) return Refuse(path, ", which does not exist");
  return Refuse(path, absl::StrCat(", which does not exist; if it is a model's id on a hub, "
                                   "download it (hf download ",
                                   path, " --local-dir FOLDER) and give the folder"));
}

}  // namespace tidal
