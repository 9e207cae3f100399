// Times a tokenizer on one thread; tokenizer_bench.py runs it beside the `tokenizers` library.
//
//   tokenizer_bench TOKENIZER_JSON TEXT_FILE [REPETITIONS]
//
// Prints tokens, and the best of the repetitions for encoding and decoding, in milliseconds.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "engine/json/text_file.h"
#include "server/text/tokenizer.h"

namespace tidal {
namespace {

template <typename Work>
double BestMilliseconds(int repetitions, const Work& work) {
  using Clock = std::chrono::steady_clock;
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < repetitions; ++i) {
    const Clock::time_point start = Clock::now();
    work();
    best = std::min(best, std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  }
  return best;
}

int Run(const char* tokenizer_path, const char* text_path, int repetitions) {
  const auto json = ReadTextFile(tokenizer_path), text = ReadTextFile(text_path);
  const auto tokenizer = json.ok() ? Tokenizer::FromJson(*json) : json.status();
  const auto ids = tokenizer.ok() && text.ok() ? (*tokenizer)->Encode(*text, false)
                                               : absl::StatusOr<std::vector<TokenId>>();
  for (const absl::Status& status :
       {json.status(), text.status(), tokenizer.status(), ids.status()}) {
    if (status.ok()) continue;
    std::fprintf(stderr, "tokenizer_bench: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  const double encode =
      BestMilliseconds(repetitions, [&] { (void)(*tokenizer)->Encode(*text, false); });
  const double decode = BestMilliseconds(repetitions, [&] { (*tokenizer)->Decode(*ids, false); });
  std::printf("%zu %.2f %.2f\n", ids->size(), encode, decode);
  return 0;
}

}  // namespace
}  // namespace tidal

int main(int argc, char** argv) {
  int repetitions = 5;
  const std::string_view count = argc == 4 ? argv[3] : "5";
  const auto [end, error] = std::from_chars(count.begin(), count.end(), repetitions);
  if (argc < 3 || argc > 4 || error != std::errc() || end != count.end() || repetitions < 1) {
    std::fprintf(stderr, "usage: tokenizer_bench TOKENIZER_JSON TEXT_FILE [REPETITIONS]\n");
    return 2;
  }
  return tidal::Run(argv[1], argv[2], repetitions);
}
