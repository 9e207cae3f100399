// The same text as Jinja2's sandbox; make_jinja_fixture.py wrote the templates.
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "server/text/jinja/interpreter.h"
#include "server/text/jinja/json_value.h"
#include "server/text/jinja/parser.h"

namespace tidal::jinja {
namespace {

using Json = nlohmann::ordered_json;

absl::StatusOr<std::string> RenderSource(const std::string& source, const Dict& variables) {
  const auto block = ParseTemplate(source);
  if (!block.ok()) return block.status();
  return Render(*block, variables, Limits(),
                std::chrono::system_clock::time_point(std::chrono::seconds(1'700'000'000)));
}

TEST(JinjaFixtureTest, SameTextAsJinja2) {
  std::ifstream file("tests/server/text/jinja_fixture.json");
  const Json fixture = Json::parse(file, nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(fixture.is_object());
  ASSERT_GE(fixture["cases"].size(), 280u);
  for (const Json& test : fixture["cases"]) {
    const auto variables = ParseJson(fixture["variables"][test["vars"].get<std::string>()].dump());
    ASSERT_TRUE(variables.ok()) << variables.status();
    const auto source = test["template"].get<std::string>();
    const auto text = RenderSource(source, variables->dict());
    if (test.contains("error")) {
      EXPECT_TRUE(absl::IsInvalidArgument(text.status())) << source << "\n" << text.status();
      if (!test["error"].is_string()) continue;
      EXPECT_EQ(std::string(text.status().message()), test["error"].get<std::string>()) << source;
    } else {
      ASSERT_TRUE(text.ok()) << source << "\n" << text.status();
      EXPECT_EQ(*text, test["text"].get<std::string>()) << source;
    }
  }
}

}  // namespace
}  // namespace tidal::jinja
