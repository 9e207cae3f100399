#include "server/text/normalizer.h"

#include <gtest/gtest.h>

#include <string>

namespace tidal {
namespace {

std::string Normalize(const Normalizer::Step& step, std::string_view text) {
  Normalizer normalizer;
  normalizer.Add(step);
  return *normalizer.Normalize(text);
}

TEST(NormalizerTest, NormalForms) {
  EXPECT_EQ(Normalize(NormalForm::kNfc, "e\u0301 \uFB01"), "\u00E9 \uFB01");
  EXPECT_EQ(Normalize(NormalForm::kNfd, "\u00E9 \uAC00"), "e\u0301 \u1100\u1161");
  EXPECT_EQ(Normalize(NormalForm::kNfkc, "\uFB01 \u2460 e\u0301"), "fi 1 \u00E9");
  EXPECT_EQ(Normalize(NormalForm::kNfkd, "\u00E9\uFB01"), "e\u0301fi");
  for (const NormalForm form :
       {NormalForm::kNfc, NormalForm::kNfd, NormalForm::kNfkc, NormalForm::kNfkd}) {
    EXPECT_EQ(Normalize(form, ""), "");
    EXPECT_EQ(Normalize(form, "plain text\n"), "plain text\n");
    EXPECT_EQ(Normalize(form, "a\u0315\u0300"), Normalize(form, "a\u0300\u0315"));  // reordered
  }
}

TEST(NormalizerTest, CodePointsAfterUnicode9StayAsTheyAre) {
  EXPECT_EQ(Normalize(NormalForm::kNfkc, "\u32FF\uFB01"), "\u32FFfi");  // of Unicode 12.1
  EXPECT_EQ(Normalize(NormalForm::kNfc, "\U00011935\U00011930"), "\U00011935\U00011930");
  // U+1DF6, a mark of Unicode 10, does not change places with U+0300, nor let it pass.
  EXPECT_EQ(Normalize(NormalForm::kNfc, "a\u1DF6\u0300"), "a\u1DF6\u0300");
}

TEST(NormalizerTest, Lowercase) {
  EXPECT_EQ(Normalize(Normalizer::Lowercase(), "AB \u00C9 \u03A3"), "ab \u00E9 \u03C3");
  EXPECT_EQ(Normalize(Normalizer::Lowercase(), "\u0130\u1E9E"), "i\u0307\u00DF");
  EXPECT_EQ(Normalize(Normalizer::Lowercase(), "\uA7CB\U00010D50"), "\u0264\U00010D70");
}

TEST(NormalizerTest, Strip) {
  EXPECT_EQ(Normalize(Normalizer::Strip{true, true}, " \u3000a b\n"), "a b");
  EXPECT_EQ(Normalize(Normalizer::Strip{true, false}, " a "), "a ");
  EXPECT_EQ(Normalize(Normalizer::Strip{false, true}, " a "), " a");
  EXPECT_EQ(Normalize(Normalizer::Strip{true, true}, " \t\u0085"), "");
}

TEST(NormalizerTest, StepsInOrder) {
  Normalizer normalizer;
  EXPECT_TRUE(normalizer.empty());
  normalizer.Add(Normalizer::Prepend{"\u2581"});
  normalizer.Add(Normalizer::Replace{Pattern::Literal(" "), "\u2581"});
  EXPECT_FALSE(normalizer.empty());
  EXPECT_EQ(*normalizer.Normalize(" a b"), "\u2581\u2581a\u2581b");
  EXPECT_EQ(*normalizer.Normalize(""), "");
}

}  // namespace
}  // namespace tidal
