// tidal-generate: one prompt from the command line, without a server.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/base/status_macros.h"
#include "server/config/command_line.h"
#include "server/config/model_flags.h"
#include "server/generation/generation.h"
#include "server/generation/model_runtime.h"
#include "server/observe/logging.h"
#include "server/ranks/load_engine.h"

ABSL_FLAG(bool, chat, false,
          "The prompt is a user's turn of a chat; else it is plain text to go on with.");
ABSL_FLAG(std::string, system, "", "With --chat: the system's turn before it.");
ABSL_FLAG(std::optional<uint32_t>, max_tokens, std::nullopt,
          "Most tokens to generate. Unset: the model's default.");
ABSL_FLAG(std::optional<float>, temperature, std::nullopt,
          "0 (always the likeliest token) to 2. Unset: the model's default.");
ABSL_FLAG(std::optional<int32_t>, top_k, std::nullopt, "Draw among this many tokens; 0: all.");
ABSL_FLAG(std::optional<float>, top_p, std::nullopt,
          "Draw among the likeliest tokens that together have this probability; 1: all.");
ABSL_FLAG(std::optional<uint64_t>, seed, std::nullopt, "Makes draws repeatable. Unset: random.");
ABSL_FLAG(std::vector<std::string>, stop, {}, "Strings, with commas between, that end the output.");
ABSL_FLAG(bool, ignore_eos, false, "Go on to max_tokens, whatever the model says.");

namespace {

using tidal::Generation;
namespace v1 = tidal::v1;

constexpr char kUsage[] =
    "Continues one prompt and prints the result as it comes; figures go to stderr.\n\n"
    "  tidal-generate [flags] \"Once upon a time\"\n"
    "  tidal-generate --chat \"Tell me a story about a fox.\"\n"
    "  tidal-generate --attention_mode=full --max_tokens=16 < prompt.txt";

v1::GenerateRequest MakeRequest(std::string prompt) {
  v1::GenerateRequest request;
  if (absl::GetFlag(FLAGS_chat)) {
    if (const std::string system = absl::GetFlag(FLAGS_system); !system.empty()) {
      v1::ChatMessage* message = request.mutable_chat()->add_messages();
      message->set_role("system");
      message->set_content(system);
    }
    v1::ChatMessage* message = request.mutable_chat()->add_messages();
    message->set_role("user");
    message->set_content(std::move(prompt));
  } else {
    request.set_text(std::move(prompt));
  }
  v1::Sampling* sampling = request.mutable_sampling();
  if (const auto value = absl::GetFlag(FLAGS_temperature)) sampling->set_temperature(*value);
  if (const auto value = absl::GetFlag(FLAGS_top_k)) sampling->set_top_k(*value);
  if (const auto value = absl::GetFlag(FLAGS_top_p)) sampling->set_top_p(*value);
  if (const auto value = absl::GetFlag(FLAGS_seed)) sampling->set_seed(*value);
  v1::Stopping* stopping = request.mutable_stopping();
  if (const auto value = absl::GetFlag(FLAGS_max_tokens)) stopping->set_max_tokens(*value);
  for (const std::string& stop : absl::GetFlag(FLAGS_stop)) stopping->add_stop(stop);
  stopping->set_ignore_eos(absl::GetFlag(FLAGS_ignore_eos));
  return request;
}

void PrintFigures(const v1::Usage& usage, absl::Duration first, absl::Duration total) {
  const double decode = absl::ToDoubleSeconds(total - first);
  const int tokens = static_cast<int>(usage.completion_tokens());
  std::fprintf(stderr,
               "\n%u prompt tokens in %.0f ms; %d tokens, %.2f ms each, %.1f a second; "
               "%u sparse and %u dense steps",
               usage.prompt_tokens(), absl::ToDoubleMilliseconds(first), tokens,
               tokens > 1 ? 1e3 * decode / (tokens - 1) : 0.0,
               tokens > 1 && decode > 0 ? (tokens - 1) / decode : 0.0,
               usage.attention().sparse_steps(), usage.attention().dense_steps());
  if (usage.attention().mode() == v1::ATTENTION_MODE_TIDAL) {
    std::fprintf(stderr, ", budget %u", usage.attention().budget());
  }
  std::fputc('\n', stderr);
}

// Prints until the end of the generation.
absl::Status Print(Generation& generation) {
  const absl::Time begin = absl::Now();
  absl::Time first = absl::InfiniteFuture();
  while (true) {
    Generation::Item item = generation.WaitNext();
    if (item.end.has_value()) {
      if (std::ferror(stdout)) return absl::DataLossError("the output could not all be written");
      return *item.end;
    }
    if (item.event->has_delta()) {
      first = std::min(first, absl::Now());
      const std::string& text = item.event->delta().text();
      std::fwrite(text.data(), 1, text.size(), stdout);
      std::fflush(stdout);
    } else if (item.event->has_usage()) {
      const absl::Time end = absl::Now();
      PrintFigures(item.event->usage(), std::min(first, end) - begin, end - begin);
    }
  }
}

absl::Status Run(const std::vector<std::string>& arguments) {
  TIDAL_ASSIGN_OR_RETURN(tidal::ModelOptions options, tidal::ModelOptionsFromFlags());
  if (tidal::PrintConfigIfAsked()) return absl::OkStatus();
  TIDAL_ASSIGN_OR_RETURN(const std::unique_ptr<tidal::RankProcesses> ranks,
                         tidal::StartRanks(&options));
  if (ranks != nullptr) {
    ranks->Watch([](const std::string& failure) {
      std::fprintf(stderr, "tidal-generate: %s\n", failure.c_str());
      _exit(1);
    });
  }
  std::string prompt = absl::StrJoin(arguments, " ");
  if (arguments.empty()) prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
  TIDAL_ASSIGN_OR_RETURN(std::unique_ptr<tidal::ModelRuntime> runtime,
                         tidal::ModelRuntime::Load(options, {}));
  const std::shared_ptr<Generation> generation =
      runtime->service().Start(MakeRequest(std::move(prompt)), {});
  return Print(*generation);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments = tidal::ParseCommandLine(argc, argv, kUsage);
  tidal::InitLogging(tidal::LogLevel::kWarning, tidal::LogFormat::kText);
  if (absl::Status status = Run(arguments); !status.ok()) {
    std::fprintf(stderr, "tidal-generate: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
