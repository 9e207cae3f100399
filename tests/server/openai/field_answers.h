// Every field of a request that clients send has an answer: it works, it has no effect on purpose,
// or it is refused by its name. A field that comes new belongs into the list of its API.
#ifndef TIDAL_TESTS_SERVER_OPENAI_FIELD_ANSWERS_H_
#define TIDAL_TESTS_SERVER_OPENAI_FIELD_ANSWERS_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "server/openai/openai_codec.h"

namespace tidal {

enum class Answer { kWorks, kNoEffect, kRefused };
inline constexpr Answer kWorks = Answer::kWorks, kNoEffect = Answer::kNoEffect,
                        kRefused = Answer::kRefused;

struct Field {
  const char* name;
  const char* value;
  Answer answer;
  const char* beside = "";  // other fields that it makes sense with, as ', "n": 2'
};

inline void PrintTo(const Field& field, std::ostream* stream) { *stream << field.name; }

// All that the service and the reply know of a request.
inline std::string EffectOf(const OpenAiRequest& request) {
  const ReplyOptions& reply = request.reply;
  return absl::StrCat(request.calls[0].DebugString(), request.request_id, reply.stream,
                      reply.include_usage, reply.continuous_usage_stats, reply.include_reasoning,
                      reply.logprobs, reply.function_calls, reply.service_tier, reply.named_tool,
                      reply.echo_text, reply.several_chats, reply.prompt_logprobs,
                      reply.token_names.has_value());
}

// `required`: the members of the smallest request. `parse`: the API's.
template <typename Parse>
void CheckAnswer(const Field& field, const std::string& required, const Parse& parse) {
  const auto plain = parse(absl::StrCat("{", required, field.beside, "}"));
  const auto with = parse(
      absl::StrCat("{", required, field.beside, ", \"", field.name, "\": ", field.value, "}"));
  ASSERT_TRUE(plain.ok()) << plain.status();
  if (field.answer == Answer::kRefused) {
    EXPECT_EQ(with.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(with.status().message()), ::testing::StartsWith(field.name));
    return;
  }
  ASSERT_TRUE(with.ok()) << with.status();
  EXPECT_EQ(EffectOf(*with) != EffectOf(*plain), field.answer == Answer::kWorks);
}

}  // namespace tidal

#endif  // TIDAL_TESTS_SERVER_OPENAI_FIELD_ANSWERS_H_
