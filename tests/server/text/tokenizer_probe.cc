// What a tokenizer makes of many texts, for tokenizer_parity_test.py to compare.
//
//   tokenizer_probe TOKENIZER_JSON INPUT_JSON OUTPUT_JSON
//
// Input: {"texts": [text, ...], "ids": [[id, ...], ...]}. Output: {"error": message} when the
// tokenizer is refused; otherwise, in the same order, {"encoded": [[ids with special tokens, ids
// without], ...], "decoded": [[text, text without special tokens], ...]}.
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/json/text_file.h"
#include "server/text/incremental_detokenizer.h"
#include "server/text/tokenizer.h"
#include "server/text/utf8.h"

namespace tidal {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<TokenId>;

Json EncodeBoth(const Tokenizer& tokenizer, const std::string& text) {
  Json both = Json::array();
  for (const bool add_special_tokens : {true, false}) {
    const auto ids = tokenizer.Encode(text, add_special_tokens);
    both.push_back(ids.ok() ? Json(*ids) : Json(std::string(ids.status().message())));
  }
  return both;
}

// Token by token; a part that is not text by itself gives null, which nothing is equal to.
Json Decode(const Tokenizer& tokenizer, const Ids& ids, bool skip_special_tokens) {
  IncrementalDetokenizer detokenizer(&tokenizer, skip_special_tokens);
  std::string text;
  for (const TokenId id : ids) {
    const std::string part = detokenizer.Append(id);
    if (FindInvalidUtf8(part).has_value()) return nullptr;
    text += part;
  }
  text += detokenizer.Flush();
  return text == tokenizer.Decode(ids, skip_special_tokens) ? Json(text) : Json(nullptr);
}

int Run(const std::string& tokenizer_path, const std::string& input, const std::string& output) {
  const auto json = ReadTextFile(tokenizer_path);
  std::ifstream in(input);
  const Json requests = Json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (!json.ok() || !requests.is_object()) {
    std::fprintf(stderr, "tokenizer_probe: %s and %s must be JSON\n", tokenizer_path.c_str(),
                 input.c_str());
    return 1;
  }
  Json reply;
  if (const auto tokenizer = Tokenizer::FromJson(*json); tokenizer.ok()) {
    reply = {{"encoded", Json::array()}, {"decoded", Json::array()}};
    for (const Json& text : requests["texts"]) {
      reply["encoded"].push_back(EncodeBoth(**tokenizer, text.get<std::string>()));
    }
    for (const Json& ids : requests["ids"]) {
      reply["decoded"].push_back(
          {Decode(**tokenizer, ids.get<Ids>(), false), Decode(**tokenizer, ids.get<Ids>(), true)});
    }
  } else {
    reply = {{"error", std::string(tokenizer.status().message())}};
  }
  std::ofstream(output) << reply;
  return 0;
}

}  // namespace
}  // namespace tidal

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: tokenizer_probe TOKENIZER_JSON INPUT_JSON OUTPUT_JSON\n");
    return 2;
  }
  return tidal::Run(argv[1], argv[2], argv[3]);
}
