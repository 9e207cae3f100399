// Renders templates for tests/server/text/published_templates_test.py: one JSON object a line in,
// {"template", "variables", "now"} (seconds since 1970), one a line out, {"text"} or {"error"}.
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "server/text/jinja/interpreter.h"
#include "server/text/jinja/json_value.h"
#include "server/text/jinja/parser.h"

namespace tidal::jinja {
namespace {

absl::StatusOr<std::string> RenderLine(const std::string& line) {
  const auto request = ParseJson(line);
  if (!request.ok()) return request.status();
  const Dict& fields = request->dict();
  const auto block = ParseTemplate(fields.FindName("template")->string());
  if (!block.ok()) return block.status();
  const std::chrono::seconds now(fields.FindName("now")->integer());
  return Render(*block, fields.FindName("variables")->dict(), Limits(),
                std::chrono::system_clock::time_point(now));
}

}  // namespace
}  // namespace tidal::jinja

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    const auto text = tidal::jinja::RenderLine(line);
    nlohmann::json reply;
    if (text.ok()) {
      reply["text"] = *text;
    } else {
      reply["error"] = std::string(text.status().message());
    }
    std::cout << reply.dump() << std::endl;
  }
}
