#include "server/grammar/grammar_compiler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "tests/server/grammar/grammar_walk.h"

namespace tidal {
namespace {

using ::testing::HasSubstr;
using Result = GrammarCompiler::Result;

std::string Regex(const std::string& pattern) {
  return "{\"format\": {\"type\": \"regex\", \"pattern\": \"" + pattern + "\"}}";
}

// Whose repetitions the library writes out, without an end that anybody would wait for.
std::string Endless(int variant = 0) {
  return Regex("((([a-z]{1,50}){1,50}){1,50}){1,5" + std::to_string(variant) + "}");
}

GrammarCompilerOptions Options() {
  GrammarCompilerOptions options;
  options.vocab_size = kWalkVocab;
  options.stop_tokens = {kWalkEnd};
  options.max_token_time = absl::Milliseconds(50);  // other tests share the machine
  return options;
}

Result Compile(GrammarCompiler& compiler, const std::string& tag) {
  absl::Mutex mutex;
  bool done = false;
  Result result = absl::UnknownError("nothing came");
  compiler.Compile(tag, [&](Result answer) {
    absl::MutexLock lock(&mutex);
    result = std::move(answer);
    done = true;
  });
  absl::MutexLock lock(&mutex);
  mutex.Await(absl::Condition(&done));
  return result;
}

TEST(GrammarCompilerTest, GivesAGrammarAndKnowsItAfterwards) {
  GrammarCompiler compiler(WalkTokenizer(), Options());
  const Result first = Compile(compiler, Regex("a{3}"));
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(Accepts(**first, "aaa"));
  bool at_once = false;
  compiler.Compile(Regex("a{3}"), [&](const Result& again) {
    at_once = true;
    EXPECT_EQ(again->get(), first->get());
  });
  EXPECT_TRUE(at_once);
}

TEST(GrammarCompilerTest, RefusalsCarryTheLibrarysWordsAndAreKnownAfterwards) {
  GrammarCompiler compiler(WalkTokenizer(), Options());
  for (const std::string& tag :
       {Regex("("), std::string("{}"), std::string("no JSON"), std::string(),
        std::string("{\"format\": {\"type\": \"grammar\", \"grammar\": \"root ::= nowhere\"}}"),
        std::string("{\"format\": {\"type\": \"token\", \"token\": 999999}}"),
        std::string("{\"format\": {\"type\": \"json_schema\", \"json_schema\": "
                    "{\"type\": \"integer\", \"minimum\": 5, \"maximum\": 4}}}")}) {
    const Result result = Compile(compiler, tag);
    ASSERT_FALSE(result.ok()) << tag;
    EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(result.status().message()), HasSubstr("structured_output: must be"));
    bool at_once = false;
    compiler.Compile(tag, [&](const Result& again) {
      at_once = true;
      EXPECT_EQ(again.status(), result.status());
    });
    EXPECT_TRUE(at_once);
  }
  EXPECT_TRUE(Compile(compiler, Regex("ok")).ok());
}

TEST(GrammarCompilerTest, WhoeverWantsTheSameWaitsForOneCompilation) {
  GrammarCompiler compiler(WalkTokenizer(), Options());
  absl::Mutex mutex;
  std::vector<const CompiledStructure*> seen;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 10; ++k) {
        compiler.Compile(Regex("[a-f]{2,9}"), [&](const Result& result) {
          absl::MutexLock lock(&mutex);
          seen.push_back(result.ok() ? result->get() : nullptr);
        });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  absl::MutexLock lock(&mutex);
  const auto all = [&] { return seen.size() == 40; };
  mutex.Await(absl::Condition(&all));
  for (const CompiledStructure* structure : seen) {
    ASSERT_NE(structure, nullptr);
    EXPECT_EQ(structure, seen.front());
  }
}

// The threads that compile it are lost; others take their place.
TEST(GrammarCompilerTest, WhatDoesNotEndIsGivenUp) {
  GrammarCompilerOptions options = Options();
  options.num_threads = 1;
  options.timeout = absl::Milliseconds(300);
  GrammarCompiler compiler(WalkTokenizer(), options);
  const Result result = Compile(compiler, Endless());
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("compiled within 300ms"));
  EXPECT_TRUE(Compile(compiler, Regex("ok")).ok());
  EXPECT_FALSE(Compile(compiler, Endless()).ok()) << "which is known now";
}

TEST(GrammarCompilerTest, OnlySoManyWait) {
  GrammarCompilerOptions options = Options();
  options.num_threads = 1;
  options.max_waiting = 2;
  options.timeout = absl::Seconds(2);
  GrammarCompiler compiler(WalkTokenizer(), options);
  absl::Mutex mutex;
  int refused = 0, given_up = 0, answered = 0;
  for (int i = 0; i < 8; ++i) {
    compiler.Compile(Endless(i), [&](const Result& result) {
      absl::MutexLock lock(&mutex);
      ++answered;
      refused += absl::IsResourceExhausted(result.status());
      given_up += absl::IsInvalidArgument(result.status());
    });
  }
  absl::MutexLock lock(&mutex);
  const auto all = [&] { return answered == 8; };
  EXPECT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&all), absl::Seconds(60)));
  EXPECT_GE(refused, 5);
  EXPECT_EQ(refused + given_up, 8);
}

TEST(GrammarCompilerTest, EndsWhileOthersWait) {
  GrammarCompilerOptions options = Options();
  options.num_threads = 1;
  options.timeout = absl::Milliseconds(200);
  int unavailable = 0;
  {
    GrammarCompiler compiler(WalkTokenizer(), options);
    for (int i = 0; i < 3; ++i) {
      compiler.Compile(Endless(i), [&](const Result& result) {
        unavailable += absl::IsUnavailable(result.status());
      });
    }
  }
  EXPECT_EQ(unavailable, 3);
}

TEST(GrammarCompilerTest, WhatIsTooSlowToMatchIsRefused) {
  GrammarCompilerOptions options = Options();
  options.max_token_time = absl::Nanoseconds(1);
  GrammarCompiler compiler(WalkTokenizer(), options);
  const Result result = Compile(compiler, Regex("[a-z]{5,9}"));
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("must cost at most 1ns a token"));
}

class ConstraintTest : public ::testing::Test {
 protected:
  std::shared_ptr<TokenConstraint> Make(const std::string& pattern, int32_t min_tokens = 0) {
    const auto structure = WalkLibrary().Compile(Regex(pattern));
    EXPECT_TRUE(structure.ok());
    return (*structure)->MakeConstraint(min_tokens);
  }
  static TokenId Token(const std::string& text) {
    return WalkTokenizer().Encode(text, false).value().at(0);
  }
};

TEST_F(ConstraintTest, EndsWithTheEndTokenOnly) {
  const auto constraint = Make("a");
  EXPECT_FALSE(Allows(MaskOf(*constraint), kWalkEnd));
  EXPECT_TRUE(constraint->Accept(Token("a")));
  EXPECT_FALSE(constraint->complete());
  for (TokenId id = 0; id < kWalkVocab; ++id) {
    EXPECT_EQ(Allows(MaskOf(*constraint), id), id == kWalkEnd) << id;
  }
  EXPECT_TRUE(constraint->Accept(kWalkEnd));
  EXPECT_TRUE(constraint->complete());
}

TEST_F(ConstraintTest, RefusesWhatDoesNotFitAndStaysWhereItWas) {
  const auto constraint = Make("ab");
  EXPECT_FALSE(constraint->Accept(Token("b")));
  EXPECT_FALSE(constraint->Accept(kWalkEnd));
  EXPECT_TRUE(constraint->Accept(Token("a")));
  EXPECT_TRUE(constraint->Accept(Token("b")));
}

TEST_F(ConstraintTest, MinTokensHoldTheEndBackWhereMoreMayCome) {
  const auto more = Make("a*", 3);
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(Allows(MaskOf(*more), kWalkEnd)) << i;
    EXPECT_TRUE(Allows(MaskOf(*more), Token("a")));
    EXPECT_TRUE(more->Accept(Token("a")));
  }
  EXPECT_TRUE(Allows(MaskOf(*more), kWalkEnd));
  const auto no_more = Make("a", 3);
  EXPECT_TRUE(no_more->Accept(Token("a")));
  EXPECT_TRUE(Allows(MaskOf(*no_more), kWalkEnd));
}

TEST_F(ConstraintTest, TokensThatTheTokenizerHasNotAreNeverAllowed) {
  const auto constraint = Make("[^a]*");
  const auto mask = MaskOf(*constraint);
  for (TokenId id = WalkTokenizer().vocab_size(); id < kWalkVocab; ++id) {
    EXPECT_FALSE(Allows(mask, id));
  }
  for (TokenId id = 0; id < 8; ++id) EXPECT_EQ(Allows(mask, id), id == kWalkEnd) << id;
}

}  // namespace
}  // namespace tidal
