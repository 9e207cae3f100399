#include "server/grammar/xgrammar_border.h"

#include <xgrammar/xgrammar.h>

#include <algorithm>
#include <ctime>
#include <optional>
#include <random>
#include <stdexcept>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "server/grammar/structure.h"
#include "server/grammar/token_filter.h"

// What the library would print, asked to be made here: messages for each schema that it passes
// something over of.
namespace xgrammar {

[[noreturn]] void LogFatalImpl(const std::string& /*file*/, int /*line*/,
                               const std::string& message) {
  throw std::runtime_error(message);
}

void LogMessageImpl(const std::string& /*file*/, int /*line*/, int /*level*/,
                    const std::string& /*message*/) {}

}  // namespace xgrammar

namespace tidal {
namespace {

constexpr size_t kMaxQuoted = 300;  // bytes of a message of the library
constexpr int kTrialTokens = 96;

absl::Status Refused(std::string_view message) {
  const size_t end = std::min(message.find_last_not_of(" \n") + 1, kMaxQuoted);
  return absl::InvalidArgumentError(
      absl::StrCat("structured_output: must be a grammar that can be enforced, got: ",
                   std::string(message.substr(0, end))));
}

class Matcher {
 public:
  explicit Matcher(const xgrammar::CompiledGrammar& grammar, bool has_stop_tokens)
      : matcher_(grammar, std::nullopt, /*terminate_without_stop_token=*/!has_stop_tokens) {}

  bool Fill(absl::Span<uint32_t> mask) {
    int64_t size = static_cast<int64_t>(mask.size());
    DLTensor tensor = {};
    tensor.data = mask.data();
    tensor.device = {kDLCPU, 0};
    tensor.ndim = 1;
    tensor.dtype = xgrammar::GetBitmaskDLType();
    tensor.shape = &size;
    return matcher_.FillNextTokenBitmask(&tensor);
  }
  bool Accept(TokenId token) { return matcher_.AcceptToken(token); }
  bool terminated() const { return matcher_.IsTerminated(); }

 private:
  xgrammar::GrammarMatcher matcher_;
};

class XgrammarConstraint : public TokenConstraint {
 public:
  XgrammarConstraint(const xgrammar::CompiledGrammar& grammar, std::vector<TokenId> stop_tokens,
                     int32_t min_tokens)
      : matcher_(grammar, !stop_tokens.empty()),
        stop_tokens_(std::move(stop_tokens)),
        min_tokens_(min_tokens) {}

  // Where the library fails, or finds nothing that may come next (the vocabulary has no token for
  // it), any token may be sampled, and none is accepted: the output ends with an error.
  bool FillMask(absl::Span<uint32_t> mask) override {
    if (broken_ || matcher_.terminated()) return false;
    try {
      const bool masked = matcher_.Fill(mask);
      broken_ = std::all_of(mask.begin(), mask.end(), [](uint32_t word) { return word == 0; });
      if (!broken_) return HoldBackStop(mask) || masked;
    } catch (const std::exception&) {
      broken_ = true;
    }
    std::fill(mask.begin(), mask.end(), ~0u);
    return false;
  }

  bool Accept(TokenId token) override {
    ++num_tokens_;
    if (broken_) return false;
    try {
      return matcher_.Accept(token);
    } catch (const std::exception&) {
      return false;
    }
  }

  bool complete() const override { return matcher_.terminated(); }

 private:
  // Stop tokens wait for the first min_tokens, unless nothing else may come. Says whether any did.
  bool HoldBackStop(absl::Span<uint32_t> mask) const {
    return num_tokens_ < min_tokens_ && ClearTokens(mask, stop_tokens_);
  }

  Matcher matcher_;
  const std::vector<TokenId> stop_tokens_;
  const int32_t min_tokens_;
  int32_t num_tokens_ = 0;
  bool broken_ = false;
};

class XgrammarStructure : public CompiledStructure {
 public:
  XgrammarStructure(xgrammar::CompiledGrammar grammar, std::vector<TokenId> stop_tokens)
      : grammar_(std::move(grammar)), stop_tokens_(std::move(stop_tokens)) {}

  std::shared_ptr<TokenConstraint> MakeConstraint(int32_t min_tokens) const override {
    return std::make_shared<XgrammarConstraint>(grammar_, stop_tokens_, min_tokens);
  }
  const xgrammar::CompiledGrammar& grammar() const { return grammar_; }

 private:
  const xgrammar::CompiledGrammar grammar_;
  const std::vector<TokenId> stop_tokens_;
};

// Replaces kCompactSchema parts by grammars that are the same.
void WriteOutCompactSchemas(StructureFormat& part) {
  if (part.is_object() && part.value("type", StructureFormat()) == kCompactSchema) {
    const auto grammar = xgrammar::Grammar::FromJSONSchema(
        part["json_schema"].dump(), /*any_whitespace=*/false, /*indent=*/std::nullopt,
        std::make_pair(std::string(","), std::string(":")));
    part = {{"type", "grammar"}, {"grammar", grammar.ToString()}};
  } else if (part.is_structured()) {
    for (StructureFormat& element : part) WriteOutCompactSchemas(element);
  }
}

std::string WithoutCompactSchemas(const std::string& structural_tag) {
  if (structural_tag.find(kCompactSchema) == std::string::npos) return structural_tag;
  auto tag = StructureFormat::parse(structural_tag);
  WriteOutCompactSchemas(tag);
  return tag.dump();
}

absl::Duration ThreadTime() {
  timespec now = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return absl::DurationFromTimespec(now);
}

// Special tokens are no text: only a grammar that names one by its id allows it. So theirs begins
// with a byte that no text has; an empty one the library would never allow.
std::vector<std::string> TokenTexts(const Tokenizer& tokenizer) {
  std::vector<std::string> texts;
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    const bool special = tokenizer.IsSpecial(id);
    texts.emplace_back(special ? tokenizer.WrittenToken(id) : tokenizer.TokenBytes(id));
    if (special) texts.back().insert(0, 1, '\xff');
  }
  return texts;
}

class Xgrammar : public GrammarLibrary {
 public:
  Xgrammar(const Tokenizer& tokenizer, int32_t vocab_size, std::vector<TokenId> stop_tokens)
      : vocab_size_(vocab_size),
        stop_tokens_(std::move(stop_tokens)),
        compiler_(xgrammar::TokenizerInfo(TokenTexts(tokenizer), xgrammar::VocabType::RAW,
                                          vocab_size, stop_tokens_),
                  /*max_threads=*/1, /*cache_enabled=*/true, kRuleCacheBytes) {}

  absl::StatusOr<std::shared_ptr<const CompiledStructure>> Compile(
      const std::string& structural_tag) override {
    try {
      return std::make_shared<XgrammarStructure>(
          compiler_.CompileStructuralTag(WithoutCompactSchemas(structural_tag)), stop_tokens_);
    } catch (const std::exception& error) {
      return Refused(error.what());
    }
  }

  absl::Duration MeasureTokenTime(const CompiledStructure& structure) override {
    const std::shared_ptr<TokenConstraint> constraint = structure.MakeConstraint(0);
    std::vector<uint32_t> mask((vocab_size_ + 31) / 32);
    std::mt19937 random(1);
    absl::Duration sum;
    int tokens = 0;
    while (tokens < kTrialTokens && !constraint->complete()) {
      std::fill(mask.begin(), mask.end(), ~0u);
      const absl::Duration start = ThreadTime();
      constraint->FillMask(absl::MakeSpan(mask));
      const absl::Duration filled = ThreadTime();
      const std::optional<TokenId> token = AnyOf(mask, random);
      const absl::Duration chosen = ThreadTime();
      if (!token.has_value() || !constraint->Accept(*token)) break;
      sum += (filled - start) + (ThreadTime() - chosen);
      ++tokens;
    }
    return tokens == 0 ? absl::ZeroDuration() : sum / tokens;
  }

  int64_t Bytes(const CompiledStructure& structure) const override {
    const auto& grammar = static_cast<const XgrammarStructure&>(structure).grammar();
    return static_cast<int64_t>(grammar.MemorySizeBytes());
  }

 private:
  // Of what grammars have in common: the states inside a string, a number.
  static constexpr int64_t kRuleCacheBytes = 256 << 20;

  // One that the mask allows; where there is another, none that ends the output.
  std::optional<TokenId> AnyOf(const std::vector<uint32_t>& mask, std::mt19937& random) const {
    std::optional<TokenId> last;
    const auto start = static_cast<TokenId>(random() % vocab_size_);
    for (TokenId i = 0; i < vocab_size_; ++i) {
      const TokenId id = (start + i) % vocab_size_;
      if ((mask[id / 32] >> (id % 32) & 1) == 0) continue;
      last = id;
      if (std::find(stop_tokens_.begin(), stop_tokens_.end(), id) == stop_tokens_.end()) break;
    }
    return last;
  }

  const int32_t vocab_size_;
  const std::vector<TokenId> stop_tokens_;
  xgrammar::GrammarCompiler compiler_;
};

}  // namespace

std::unique_ptr<GrammarLibrary> MakeGrammarLibrary(const Tokenizer& tokenizer, int32_t vocab_size,
                                                   std::vector<TokenId> stop_tokens) {
  return std::make_unique<Xgrammar>(tokenizer, vocab_size, std::move(stop_tokens));
}

}  // namespace tidal
