#include "engine/model/layer_plan.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(LayerPlanTest, OneRoleACharacter) {
  const auto plan = ParseLayerPlan("DSRA", 4, "pattern");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->roles, ElementsAre(LayerRole::kDense, LayerRole::kSelect, LayerRole::kReuse,
                                       LayerRole::kAnchor));
  EXPECT_TRUE(plan->has_reuse());
}

TEST(LayerPlanTest, ReuseNeedsALayerThatReadsTheSet) {
  EXPECT_FALSE(ParseLayerPlan("DDD", 3, "pattern")->has_reuse());
  EXPECT_FALSE(ParseLayerPlan("DSS", 3, "pattern")->has_reuse());
  EXPECT_TRUE(ParseLayerPlan("DDA", 3, "pattern")->has_reuse());
}

TEST(LayerPlanTest, BadPatternsSayWhy) {
  const auto error = [](const char* pattern, int32_t layers) {
    const auto plan = ParseLayerPlan(pattern, layers, "the_field");
    EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument) << pattern;
    return std::string(plan.status().message());
  };
  EXPECT_EQ(error("DDR", 3), "the_field: must select (S or A) before the first R, got \"DDR\"");
  EXPECT_THAT(error("R", 1), HasSubstr("must select"));
  EXPECT_THAT(error("DDS", 4), HasSubstr("one character for each of the 4 layers, got \"DDS\""));
  EXPECT_THAT(error("", 1), HasSubstr("one character for each"));
  EXPECT_THAT(error("DdS", 3), HasSubstr("consist of D, S, R and A"));
  EXPECT_THAT(error("RXS", 3), HasSubstr("consist of D, S, R and A"));
}

TEST(LayerPlanTest, LayersWithAWindowAreDenseAndHandTheirSelectionOn) {
  EXPECT_EQ(PatternWithWindows("DDSRRSRR", {}), "DDSRRSRR");
  EXPECT_EQ(PatternWithWindows("DDSRRSRR", {0, 0, 0, 0, 0, 0, 0, 0}), "DDSRRSRR");
  EXPECT_EQ(PatternWithWindows("DDSRRSRR", {0, 0, 0, 0, 0, 0, 9, 9}), "DDSRRSDD");
  EXPECT_EQ(PatternWithWindows("DDSRRSRR", {0, 0, 9, 9, 0, 9, 0, 0}), "DDDDSDSR");
  EXPECT_EQ(PatternWithWindows("DDSARSRR", {0, 0, 9, 9, 0, 0, 0, 0}), "DDDDASRR");
  EXPECT_EQ(PatternWithWindows("DDSDRSRR", {0, 0, 9, 0, 0, 0, 0, 0}), "DDDDSSRR");
  EXPECT_EQ(PatternWithWindows("DDSRRSRR", {9, 9, 9, 9, 9, 9, 9, 9}), "DDDDDDDD");
}

TEST(LayerPlanTest, PublishedSchedule) {
  EXPECT_EQ(PaperPattern(16, 8), "DDSRRRRRSRRRRRRR");
  EXPECT_EQ(PaperPattern(32, 13), "DDSRRRRRRRRRRSRRRRRRRRRRRRRRRRRR");
  EXPECT_EQ(PaperPattern(4, -1), "DDSR");
  EXPECT_EQ(DefaultReselectionLayer(32), 13);
  EXPECT_EQ(DefaultReselectionLayer(16), 6);
  EXPECT_EQ(DefaultReselectionLayer(5), 3);
  EXPECT_EQ(DefaultReselectionLayer(4), -1);
  for (int32_t layers = 4; layers < 130; ++layers) {
    const auto plan =
        ParseLayerPlan(PaperPattern(layers, DefaultReselectionLayer(layers)), layers, "pattern");
    ASSERT_TRUE(plan.ok()) << layers;
    EXPECT_TRUE(plan->has_reuse()) << layers;
  }
}

}  // namespace
}  // namespace tidal
