#include "server/responses/response_echo.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "server/openai/raw_json.h"

namespace tidal {
namespace {

struct Echoed {
  const char *name, *otherwise;  // otherwise: JSON
};
constexpr Echoed kEchoed[] = {
    {"instructions", "null"},
    {"max_output_tokens", "null"},
    {"max_tool_calls", "null"},
    {"metadata", "{}"},
    {"parallel_tool_calls", "true"},
    {"prompt_cache_key", "null"},
    {"reasoning", R"({"effort":null,"summary":null})"},
    {"safety_identifier", "null"},
    {"temperature", "null"},
    {"text", R"({"format":{"type":"text"}})"},
    {"tool_choice", R"("auto")"},
    {"tools", "[]"},
    {"top_logprobs", "null"},
    {"top_p", "null"},
    {"truncation", R"("disabled")"},
    {"user", "null"},
};

}  // namespace

std::string EchoOf(const JsonFields& fields, absl::string_view body) {
  std::vector<const char*> names;
  for (const Echoed& echoed : kEchoed) names.push_back(echoed.name);
  const std::vector<absl::string_view> values = RawMembers(body, names);
  std::string members;
  for (size_t i = 0; i < names.size(); ++i) {
    // In an event of a stream there is no place for the client's line breaks.
    const std::string value =
        fields.Find(names[i]) == nullptr ? std::string(kEchoed[i].otherwise) : OnOneLine(values[i]);
    absl::StrAppend(&members, i == 0 ? "" : ",", "\"", names[i], "\":", value);
  }
  return members;
}

}  // namespace tidal
