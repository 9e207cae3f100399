#include "server/config/flag_spelling.h"

#include <algorithm>
#include <vector>

#include "absl/flags/marshalling.h"
#include "absl/flags/reflection.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "server/config/flag_sources.h"
#include "server/config/nearest_name.h"
#include "server/config/quoted.h"

namespace tidal {
namespace {

std::string WithUnderscores(absl::string_view written) {
  return absl::StrReplaceAll(written, {{"-", "_"}});
}

absl::Status Refuse(absl::string_view name, absl::string_view must, absl::string_view got) {
  return absl::InvalidArgumentError(absl::StrCat(name, ": must be ", must, ", got ", Quoted(got)));
}

// The value of a flag of vLLM's that has none here: one that changes nothing.
absl::Status CheckSame(const VllmFlag& flag, absl::string_view value) {
  if (flag.same.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(flag.name, ": must be absent; ", flag.hint));
  }
  const std::vector<absl::string_view> same = absl::StrSplit(flag.same, ',');
  if (std::count(same.begin(), same.end(), value) > 0) return absl::OkStatus();
  const absl::Status refusal = Refuse(flag.name, absl::StrJoin(same, " or "), value);
  if (flag.hint.empty()) return refusal;
  return absl::InvalidArgumentError(absl::StrCat(refusal.message(), "; ", flag.hint));
}

}  // namespace

std::optional<FlagSpelling> FlagSpelling::FindName(const std::string& name) {
  if (absl::CommandLineFlag* const flag = absl::FindCommandLineFlag(name); flag != nullptr) {
    return FlagSpelling(flag, nullptr, false);
  }
  const VllmFlag* const vllm = FindVllmFlag(name);
  if (vllm == nullptr) return std::nullopt;
  // vLLM's flags are those of a program that runs a model.
  const absl::string_view ours = vllm->flag.empty() ? "model" : vllm->flag;
  absl::CommandLineFlag* const flag = absl::FindCommandLineFlag(ours);
  if (flag == nullptr) return std::nullopt;
  return FlagSpelling(vllm->flag.empty() ? nullptr : flag, vllm, vllm->opposite);
}

std::string FlagSpelling::Hint(absl::string_view written) {
  return DidYouMean(WithUnderscores(written), OurFlagNames());
}

std::optional<FlagSpelling> FlagSpelling::Find(absl::string_view written) {
  const std::string name = WithUnderscores(written);
  if (const auto found = FindName(name); found.has_value()) return found;
  absl::string_view rest = name;
  if (!absl::ConsumePrefix(&rest, "no")) return std::nullopt;
  absl::ConsumePrefix(&rest, "_");
  std::optional<FlagSpelling> found = FindName(std::string(rest));
  if (!found.has_value() || found->takes_value()) return std::nullopt;
  found->opposite_ = !found->opposite_;
  return found;
}

bool FlagSpelling::takes_value() const {
  return flag_ == nullptr ? vllm_->takes_value : !flag_->IsOfType<bool>();
}

absl::StatusOr<std::string> FlagSpelling::Value(const std::string& given) const {
  std::string value = given;
  if (!takes_value()) {
    bool on = false;
    std::string error;
    if (!absl::ParseFlag(given, &on, &error)) {
      return Refuse(flag_ == nullptr ? vllm_->name : flag_->Name(), "true or false", given);
    }
    value = absl::UnparseFlag(on != opposite_);
  }
  if (flag_ != nullptr) return value;
  if (absl::Status status = CheckSame(*vllm_, value); !status.ok()) return status;
  return value;
}

}  // namespace tidal
