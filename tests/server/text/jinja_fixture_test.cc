// The same text as Jinja2's sandbox; make_jinja_fixture.py wrote the templates.
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "server/text/jinja/interpreter.h"
#include "server/text/jinja/parser.h"

namespace tidal::jinja {
namespace {

using Json = nlohmann::ordered_json;

Value FromJson(const Json& json) {
  if (json.is_null()) return Value(nullptr);
  if (json.is_boolean()) return Value(json.get<bool>());
  if (json.is_number_integer()) return Value(json.get<int64_t>());
  if (json.is_number()) return Value(json.get<double>());
  if (json.is_string()) return Value(json.get<std::string>());
  if (json.is_array()) {
    std::vector<Value> items;
    for (const Json& item : json) items.push_back(FromJson(item));
    return Value::List(std::move(items));
  }
  Dict dict;
  for (const auto& [key, value] : json.items()) dict.SetName(key, FromJson(value));
  return Value(std::make_shared<const Dict>(std::move(dict)));
}

absl::StatusOr<std::string> RenderSource(const std::string& source, const Dict& variables) {
  const auto block = ParseTemplate(source);
  if (!block.ok()) return block.status();
  return Render(*block, variables, Limits(), std::chrono::system_clock::time_point());
}

TEST(JinjaFixtureTest, SameTextAsJinja2) {
  std::ifstream file("tests/server/text/jinja_fixture.json");
  const Json fixture = Json::parse(file, nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(fixture.is_object());
  ASSERT_GE(fixture["cases"].size(), 200u);
  for (const Json& test : fixture["cases"]) {
    const Value variables = FromJson(fixture["variables"][test["vars"].get<std::string>()]);
    const auto source = test["template"].get<std::string>();
    const auto text = RenderSource(source, variables.dict());
    if (test.contains("error")) {
      EXPECT_TRUE(absl::IsInvalidArgument(text.status())) << source << "\n" << text.status();
    } else {
      ASSERT_TRUE(text.ok()) << source << "\n" << text.status();
      EXPECT_EQ(*text, test["text"].get<std::string>()) << source;
    }
  }
}

}  // namespace
}  // namespace tidal::jinja
