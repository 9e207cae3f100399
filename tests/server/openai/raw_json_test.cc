#include "server/openai/raw_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(RawJsonTest, MembersAsTheyAreWritten) {
  constexpr char kObject[] =
      R"( { "a" :  {"z": 1.50, "y": ["}", "\"]", {}]} , "b":-1e5,"c":"x\\", "d" : [ ] , "e":null})";
  EXPECT_EQ(RawMember(kObject, "a"), R"({"z": 1.50, "y": ["}", "\"]", {}]})");
  EXPECT_EQ(RawMember(kObject, "b"), "-1e5");
  EXPECT_EQ(RawMember(kObject, "c"), R"("x\\")");
  EXPECT_EQ(RawMember(kObject, "d"), "[ ]");
  EXPECT_EQ(RawMember(kObject, "e"), "null");
  EXPECT_EQ(RawMember(kObject, "z"), "");
  EXPECT_EQ(RawMember("[1]", "a"), "");
  EXPECT_EQ(RawMember("{}", "a"), "");
}

TEST(RawJsonTest, TheLastOfADoubleAndEscapedNames) {
  EXPECT_EQ(RawMember(R"({"a": 1, "a": 2})", "a"), "2");
  EXPECT_EQ(RawMember(R"({"to\u006fls": [1], "to\"ls": 2})", "tools"), "[1]");
  EXPECT_EQ(RawMember("\xEF\xBB\xBF{\"a\": 1}", "a"), "1");
}

TEST(RawJsonTest, SeveralMembers) {
  EXPECT_THAT(RawMembers(R"({"a": 1, "b": [2], "a": 3})", {"b", "c", "a"}),
              ElementsAre("[2]", "", "3"));
  EXPECT_THAT(RawMembers("[1]", {"a"}), ElementsAre(""));
}

TEST(RawJsonTest, OneLine) {
  EXPECT_EQ(OnOneLine("{\n \"a b\\\"\\n\\\\\" : [ 1.50 ,\r\n\ttrue ] , \"\": \"\" }"),
            R"({"a b\"\n\\":[1.50,true],"":""})");
}

TEST(RawJsonTest, Elements) {
  EXPECT_THAT(RawElements(R"([1, {"a": [2, 3]},"x,y" , [],true ])"),
              ElementsAre("1", R"({"a": [2, 3]})", R"("x,y")", "[]", "true"));
  EXPECT_THAT(RawElements(" [ ] "), IsEmpty());
  EXPECT_THAT(RawElements("{}"), IsEmpty());
}

}  // namespace
}  // namespace tidal
