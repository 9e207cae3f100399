#include "server/grammar/schema_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace tidal {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::HasSubstr;

std::string Repeat(int times, const std::string& text) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

std::string Prepared(const std::string& text, bool strict = false) {
  auto json = ParseBoundedJson("schema", text);
  if (!json.ok()) return std::string(json.status().message());
  const auto prepared = PrepareSchema("schema", *std::move(json), strict);
  if (prepared.ok()) return prepared->dump();
  EXPECT_EQ(prepared.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(prepared.status().message());
}

TEST(SchemaCheckTest, BoundsOfJson) {
  EXPECT_EQ(Prepared("{"), "schema: must be valid JSON in UTF-8, got a syntax error");
  EXPECT_EQ(Prepared(std::string("{}\0", 3)),
            "schema: must be valid JSON in UTF-8, got a syntax error");
  EXPECT_EQ(Prepared("{} x"), "schema: must be valid JSON in UTF-8, got a syntax error");
  EXPECT_EQ(Prepared(Repeat(10'000, "{\"items\":") + "{}" + Repeat(10'000, "}")),
            "schema: must be at most 64 levels deep, got 10001");
  EXPECT_EQ(Prepared(Repeat(63, "{\"not\":") + "{}" + Repeat(63, "}")),
            Repeat(63, "{\"not\":") + "{}" + Repeat(63, "}"));
  std::string properties;
  for (int i = 0; i < 5'000; ++i) properties += (i ? ",\"p" : "\"p") + std::to_string(i) + "\":{}";
  EXPECT_THAT(Prepared("{\"properties\":{" + properties + "}}"),
              HasSubstr("must have at most 500 properties of an object that are not required, got "
                        "5000 at /properties"));
  EXPECT_EQ(Prepared("{\"enum\":[" + Repeat(16'000, "1,") + "1]}"),
            "schema: must have at most 10000 values, got 16003");
  EXPECT_EQ(Prepared("\"" + std::string(kMaxSchemaBytes, 'x') + "\""),
            "schema: must have at most 262144 bytes, got 262146");
  // Brackets in strings are no depth.
  EXPECT_EQ(Prepared("{\"const\":\"" + Repeat(100, "[{") + "\\\"[\"}").substr(0, 12),
            "{\"const\":\"[{");
}

TEST(SchemaCheckTest, FaultsAreNamedByPointer) {
  EXPECT_EQ(Prepared("5"), "schema: must be an object or a boolean, got another value at the root");
  EXPECT_EQ(Prepared(R"({"properties":{"a/b":{"maxLength":-1}}})"),
            "schema: must have bounds in [0, 100000], got -1 at /properties/a~1b/maxLength");
  EXPECT_EQ(Prepared(R"({"items":[{},{"minItems":100001}]})"),
            "schema: must have bounds in [0, 100000], got 100001 at /items/1/minItems");
  EXPECT_THAT(Prepared(R"({"anyOf":{}})"),
              HasSubstr("array of schemas, got another value at /any"));
  EXPECT_THAT(Prepared(R"({"properties":[]})"), HasSubstr("object of schemas"));
  EXPECT_THAT(Prepared(R"({"$defs":{"x":{"pattern":"a{1,100000}"}}})"),
              HasSubstr("at /$defs/x/pattern"));
  EXPECT_THAT(Prepared(R"({"patternProperties":{"(a{99}){99}":{}}})"),
              HasSubstr("at /patternProperties/(a{99}){99}"));
  EXPECT_THAT(Prepared(R"({"$ref":"https://elsewhere/schema"})"), HasSubstr("its own parts"));
  EXPECT_THAT(Prepared(R"({"enum":[]})"), HasSubstr("at /enum"));
}

TEST(SchemaCheckTest, StrictRefusesWhatWouldNotBeEnforced) {
  const char* const unenforced[] = {R"({"not":{}})",
                                    R"({"if":{},"then":{}})",
                                    R"({"type":"array","uniqueItems":true})",
                                    R"({"type":"array","contains":{}})",
                                    R"({"type":"number","multipleOf":0.5})",
                                    R"({"type":"string","format":"vendor-specific"})",
                                    R"({"type":"string","pattern":"a","maxLength":3})",
                                    R"({"allOf":[{},{}]})",
                                    R"({"dependentRequired":{}})"};
  for (const std::string schema : unenforced) {
    EXPECT_THAT(Prepared("{\"items\":" + schema + "}", true), HasSubstr("at /items/")) << schema;
    EXPECT_THAT(Prepared(schema, false), ::testing::Not(HasSubstr("schema:"))) << schema;
  }
  EXPECT_EQ(Prepared(R"({"type":"array","items":{},"uniqueItems":false})", true),
            R"({"type":"array","items":{},"uniqueItems":false})");
  EXPECT_EQ(Prepared(R"({"type":"integer","multipleOf":5})", true),
            R"({"type":"integer","multipleOf":5})");
  // Data is no schema.
  EXPECT_EQ(Prepared(R"({"const":{"not":{}}})", true), R"({"const":{"not":{}}})");
}

TEST(SchemaCheckTest, WhatSaysNothingOfItsPartsStaysOpen) {
  EXPECT_EQ(Prepared(R"({"type":"object"})"), R"({"type":"object","additionalProperties":true})");
  EXPECT_EQ(Prepared(R"({"type":["array","null"]})"), R"({"type":["array","null"],"items":true})");
  for (const std::string as_it_is :
       {R"({"type":"object","properties":{}})", R"({"type":"object","additionalProperties":false})",
        R"({"type":"array","items":{}})", R"({"type":"object","anyOf":[true]})", R"(true)",
        R"({"type":"string"})"}) {
    EXPECT_EQ(Prepared(as_it_is), as_it_is);
  }
}

TEST(SchemaCheckTest, KeysKeepTheirOrder) {
  const std::string schema = R"({"properties":{"z":{},"a":{},"m":{}}})";
  EXPECT_EQ(Prepared(schema), schema);
}

TEST(SchemaCheckTest, LengthOfPatterns) {
  for (const std::string fits :
       {"a{4096}", "(ab){2048}", "[a-z]{4,4000}", "\\{99999}", "(a|b){1,10}(c){0,20}", "a{,5}",
        "a{x}", "[{]{5}", "((a{10}){10}){10}", "a{1,2", "\\d{4}-\\d{2}"}) {
    EXPECT_TRUE(CheckPattern("p", fits, 100).ok()) << fits;
  }
  for (const std::string too_long :
       {"a{1,100000}", "a{4097}", "(ab){2049}", "((a{10}){10}){100}", "a{9999999999999999999}",
        "(a{100}){100}", "(((((a{9}){9}){9}){9}){9})", "a{2}{3000}"}) {
    EXPECT_FALSE(CheckPattern("p", too_long, 100).ok()) << too_long;
  }
  EXPECT_FALSE(CheckPattern("p", "", 100).ok());
  EXPECT_FALSE(CheckPattern("p", "abc", 2).ok());
  EXPECT_FALSE(CheckPattern("p", absl::string_view("a\0b", 3), 100).ok());
  EXPECT_FALSE(CheckPattern("p", "\xff", 100).ok());
}

}  // namespace
}  // namespace tidal
