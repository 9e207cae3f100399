// libFuzzer entry: what a client asks its outputs to be. The first byte is the kind, the rest its
// text. What is taken is compiled, and a text drawn from what its masks allow.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/grammar/schema_check.h"
#include "server/grammar/structure.h"
#include "server/grammar/xgrammar_border.h"
#include "server/text/tokenizer.h"

namespace tidal {
namespace {

constexpr int32_t kVocab = 300;  // of bytes, and an end token
constexpr int kMaxTokens = 24;

// A token for each byte that a JSON string can spell by itself, and one that ends.
std::unique_ptr<Tokenizer> MakeTokenizer() {
  nlohmann::json vocab = {{"Ġ", 0}, {"Ċ", 1}};
  for (char c = '!'; c <= '~'; ++c) vocab[std::string(1, c)] = vocab.size();
  const nlohmann::json end = {{"id", vocab.size()},   {"content", "<end>"}, {"special", true},
                              {"single_word", false}, {"lstrip", false},    {"rstrip", false},
                              {"normalized", false}};
  const nlohmann::json json = {
      {"added_tokens", {end}},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", nlohmann::json::array()}}}};
  return Tokenizer::FromJson(json.dump()).value();
}

v1::StructuredOutput Wanted(uint8_t kind, std::string text) {
  v1::StructuredOutput wanted;
  switch (kind % 6) {
    case 0:
      wanted.set_json_schema(std::move(text));
      break;
    case 1:
      wanted.set_regex(std::move(text));
      break;
    case 2:
      wanted.set_grammar(std::move(text));
      break;
    case 3:
      wanted.set_structural_tag(std::move(text));
      break;
    case 4:
      wanted.mutable_choice()->add_texts(std::move(text));
      break;
    default:
      wanted.set_json_schema(std::move(text));
      wanted.set_strict(true);
      wanted.set_compact(true);
  }
  return wanted;
}

void Fuzz(const std::string& input) {
  static const std::unique_ptr<Tokenizer> tokenizer = MakeTokenizer();
  static const TokenId end = *tokenizer->TokenToId("<end>");
  static const std::unique_ptr<GrammarLibrary> library =
      MakeGrammarLibrary(*tokenizer, kVocab, {end});
  if (input.empty() || input.size() > 400) return;
  const auto answer = AnswerFormat(Wanted(static_cast<uint8_t>(input[0]), input.substr(1)));
  if (!answer.ok()) return;
  StructureParts parts;
  parts.answer = *answer;
  parts.tokenizer = tokenizer.get();
  parts.stop_tokens = {end};
  const auto structure = library->Compile(*StructureOf(parts));
  if (!structure.ok()) return;
  const auto constraint = (*structure)->MakeConstraint(0);
  std::vector<uint32_t> mask((kVocab + 31) / 32);
  for (int i = 0; i < kMaxTokens && !constraint->complete(); ++i) {
    mask.assign(mask.size(), ~0u);
    constraint->FillMask(absl::MakeSpan(mask));
    auto token = static_cast<TokenId>(static_cast<uint8_t>(input[i % input.size()]));
    int tries = 0;
    while ((mask[token / 32] >> (token % 32) & 1) == 0) {
      token = (token + 1) % kVocab;
      if (++tries > kVocab) __builtin_trap();  // a mask that allows nothing
    }
    if (constraint->Accept(token)) continue;
    // Only where nothing could come does nothing that is allowed fit.
    for (const uint32_t word : mask) {
      if (word != ~0u) __builtin_trap();
    }
    return;
  }
}

}  // namespace
}  // namespace tidal

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tidal::Fuzz(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
