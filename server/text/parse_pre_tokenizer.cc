// The pre-tokenizer of a tokenizer.json.
#include <string>
#include <utility>

#include "engine/base/status_macros.h"
#include "server/text/concat.h"
#include "server/text/tokenizer_parts.h"
#include "server/text/unicode_classes.h"

namespace tidal {
namespace {

// The pattern of a ByteLevel pre-tokenizer with use_regex: GPT-2's.
constexpr std::string_view kGpt2Pattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
// The library takes digits from Unicode 17, and punctuation from Unicode 8, with all ASCII symbols.
constexpr std::string_view kDigits = "\\p{N}\\x{11de0}-\\x{11de9}\\x{16ff4}-\\x{16ff6}";
constexpr std::string_view kPunctuation = "\\p{P}!-/:-@\\[-`{-~\\x{166d}\\x{111c9}";
constexpr std::string_view kLaterPunctuation =
    "\\x{61D}\\x{9FD}\\x{A76}\\x{C77}\\x{C84}\\x{1B7D}-\\x{1B7E}\\x{2E43}-\\x{2E4F}"
    "\\x{2E52}-\\x{2E5D}\\x{10EAD}\\x{10F55}-\\x{10F59}\\x{10F86}-\\x{10F89}\\x{1144B}-\\x{1144F}"
    "\\x{1145A}-\\x{1145B}\\x{1145D}\\x{11660}-\\x{1166C}\\x{116B9}\\x{1183B}"
    "\\x{11944}-\\x{11946}\\x{119E2}\\x{11A3F}-\\x{11A46}\\x{11A9A}-\\x{11A9C}"
    "\\x{11A9E}-\\x{11AA2}\\x{11B00}-\\x{11B09}\\x{11C41}-\\x{11C45}\\x{11C70}-\\x{11C71}"
    "\\x{11EF7}-\\x{11EF8}\\x{11F43}-\\x{11F4F}\\x{11FFF}\\x{12FF1}-\\x{12FF2}"
    "\\x{16E97}-\\x{16E9A}\\x{16FE2}\\x{1E95E}-\\x{1E95F}";

absl::StatusOr<SplitBehavior> ParseBehavior(const JsonField& field) {
  const nlohmann::json& name = field.value();
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return field.Wrong(
      "\"Removed\", \"Isolated\", \"MergedWithPrevious\", \"MergedWithNext\" or \"Contiguous\"");
}

absl::StatusOr<PreTokenizer::Step> SplitAt(const std::string& pattern, SplitBehavior behavior,
                                           bool invert = false) {
  TIDAL_ASSIGN_OR_RETURN(Pattern regex, Pattern::Regex(pattern));
  return PreTokenizer::Split{std::move(regex), behavior, invert};
}

absl::StatusOr<PreTokenizer::Step> ParseSplit(const JsonField& step) {
  TIDAL_ASSIGN_OR_RETURN(Pattern pattern, ParsePattern(step.Member("pattern")));
  TIDAL_ASSIGN_OR_RETURN(const SplitBehavior behavior, ParseBehavior(step.Member("behavior")));
  TIDAL_ASSIGN_OR_RETURN(const bool invert, step.Member("invert").Bool(false));
  return PreTokenizer::Split{std::move(pattern), behavior, invert};
}

absl::StatusOr<PreTokenizer::Step> ParseDigits(const JsonField& step) {
  TIDAL_ASSIGN_OR_RETURN(const bool individual, step.Member("individual_digits").Bool(false));
  return SplitAt(Concat("[", kDigits, individual ? "]" : "]+"), SplitBehavior::kIsolated);
}

absl::StatusOr<PreTokenizer::Step> ParsePunctuation(const JsonField& step) {
  SplitBehavior behavior = SplitBehavior::kIsolated;
  if (const JsonField field = step.Member("behavior"); !field.is_null()) {
    TIDAL_ASSIGN_OR_RETURN(behavior, ParseBehavior(field));
  }
  return SplitAt(
      Concat("(?![", kLaterPunctuation, FindUnicodeClass("P")->later, "])[", kPunctuation, "]"),
      behavior);
}

class PreTokenizerParser {
 public:
  explicit PreTokenizerParser(bool has_normalizer) : rewritten_(has_normalizer) {}

  absl::Status AddStep(const JsonField& step) {
    const JsonField type = step.Member("type");
    const nlohmann::json& name = type.value();
    if (name == "ByteLevel") return AddByteLevel(step);
    // The steps after ByteLevel see its alphabet, not the text.
    if (byte_level_ && !std::exchange(in_alphabet_, true)) {
      pre_tokenizer_.Add(PreTokenizer::ToByteLevel());
    }
    if (name == "Metaspace") return AddMetaspace(step);
    if (name == "Split") return Add(ParseSplit(step));
    if (name == "Digits") return Add(ParseDigits(step));
    if (name == "Punctuation") return Add(ParsePunctuation(step));
    if (name == "WhitespaceSplit") return Add(SplitAt("\\s+", SplitBehavior::kRemoved));
    if (name == "Whitespace") {
      const std::string pattern = Concat("[", kWordCharacters, "]+|[^\\s", kWordCharacters, "]+");
      return Add(SplitAt(pattern, SplitBehavior::kRemoved, /*invert=*/true));
    }
    return type.Wrong(
        "\"ByteLevel\", \"Metaspace\", \"Split\", \"Digits\", \"Punctuation\", \"Whitespace\" or "
        "\"WhitespaceSplit\"");
  }

  PreTokenizer Finish(bool* byte_level) && {
    if (in_alphabet_) pre_tokenizer_.Add(PreTokenizer::FromByteLevel());
    *byte_level = byte_level_;
    return std::move(pre_tokenizer_);
  }

 private:
  absl::Status Add(absl::StatusOr<PreTokenizer::Step> step) {
    if (step.ok()) pre_tokenizer_.Add(*std::move(step));
    return step.status();
  }

  absl::Status AddByteLevel(const JsonField& step) {
    if (byte_level_) return step.Member("type").Wrong("\"ByteLevel\" once");
    byte_level_ = true;
    TIDAL_ASSIGN_OR_RETURN(const bool prefix, step.Member("add_prefix_space").Bool(true));
    TIDAL_ASSIGN_OR_RETURN(const bool use_regex, step.Member("use_regex").Bool(true));
    if (prefix) pre_tokenizer_.Add(PreTokenizer::PrefixSpace());
    if (!use_regex) return absl::OkStatus();
    return Add(SplitAt(std::string(kGpt2Pattern), SplitBehavior::kIsolated));
  }

  absl::Status AddMetaspace(const JsonField& step) {
    if (byte_level_) return step.Member("type").Wrong("before ByteLevel");
    TIDAL_ASSIGN_OR_RETURN(PreTokenizer::Metaspace metaspace, ParseMetaspace(step));
    if (metaspace.prepend == PreTokenizer::Metaspace::Prepend::kFirst && rewritten_) {
      return step.Member("prepend_scheme")
          .Wrong("\"always\" or \"never\" after a normalizer or another Metaspace");
    }
    rewritten_ = true;
    return Add(std::move(metaspace));
  }

  PreTokenizer pre_tokenizer_;
  bool rewritten_;            // the text is no longer that of the user
  bool byte_level_ = false;   // ByteLevel has been
  bool in_alphabet_ = false;  // and the steps after it see its alphabet
};

}  // namespace

absl::StatusOr<PreTokenizer::Metaspace> ParseMetaspace(const JsonField& step) {
  using Prepend = PreTokenizer::Metaspace::Prepend;
  PreTokenizer::Metaspace metaspace;
  TIDAL_ASSIGN_OR_RETURN(metaspace.replacement, ParseCharacter(step.Member("replacement")));
  TIDAL_ASSIGN_OR_RETURN(metaspace.split, step.Member("split").Bool(true));
  TIDAL_ASSIGN_OR_RETURN(const bool prefix, step.Member("add_prefix_space").Bool(true));
  const JsonField scheme = step.Member("prepend_scheme");
  if (scheme.value() == "never") {
    metaspace.prepend = Prepend::kNever;
  } else if (!prefix) {
    return scheme.Wrong("\"never\" without add_prefix_space");
  } else if (scheme.value() == "first") {
    metaspace.prepend = Prepend::kFirst;
  } else if (!scheme.is_null() && scheme.value() != "always") {
    return scheme.Wrong("\"always\", \"never\" or \"first\"");
  }
  return metaspace;
}

absl::StatusOr<PreTokenizer> ParsePreTokenizer(const JsonField& field, bool has_normalizer,
                                               bool* byte_level) {
  TIDAL_ASSIGN_OR_RETURN(const auto steps, ParseSteps(field, "pretokenizers"));
  PreTokenizerParser parser(has_normalizer);
  for (const JsonField& step : steps) TIDAL_RETURN_IF_ERROR(parser.AddStep(step));
  return std::move(parser).Finish(byte_level);
}

}  // namespace tidal
