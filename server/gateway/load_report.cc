#include "server/gateway/load_report.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace tidal {
namespace {

constexpr const char* kNames[] = {"kv_cache_usage_perc", "num_requests_waiting"};

// The value of the first sample of the family; empty where there is none.
absl::string_view ValueOf(absl::string_view family, absl::string_view metrics) {
  for (absl::string_view line : absl::StrSplit(metrics, '\n')) {
    if (!absl::ConsumePrefix(&line, family)) continue;
    if (line.empty() || (line[0] != '{' && line[0] != ' ')) continue;  // a longer name
    return line.substr(line.rfind(' ') + 1);
  }
  return "";
}

}  // namespace

std::string LoadReport(absl::string_view format, absl::string_view metrics) {
  const bool json = absl::EqualsIgnoreCase(format, "JSON");
  if (!json && !absl::EqualsIgnoreCase(format, "TEXT")) return "";
  std::vector<std::string> values;
  for (const char* name : kNames) {
    const absl::string_view value = ValueOf(absl::StrCat("vllm:", name), metrics);
    if (value.empty()) continue;
    values.push_back(json ? absl::StrCat("\"", name, "\": ", value)
                          : absl::StrCat("named_metrics.", name, "=", value));
  }
  if (values.empty()) return "";
  const std::string all = absl::StrJoin(values, ", ");
  return json ? absl::StrCat("JSON {\"named_metrics\": {", all, "}}") : absl::StrCat("TEXT ", all);
}

}  // namespace tidal
