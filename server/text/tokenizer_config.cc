#include "server/text/tokenizer_config.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "server/text/concat.h"
#include "server/text/json_field.h"

namespace tidal {
namespace {

// The pattern of a ByteLevel pre-tokenizer with use_regex: GPT-2's.
constexpr std::string_view kGpt2Pattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
constexpr size_t kMaxTokens = kMaxTokenId;
constexpr size_t kMaxSteps = 16;         // of a pre-tokenizer or post-processor
constexpr size_t kMaxNesting = 4;        // of a Sequence in a Sequence
constexpr size_t kMaxTokenBytes = 4096;  // of one token

absl::Status ParseVocab(const JsonField& vocab, TokenizerConfig* config) {
  if (absl::Status status = vocab.RequireObject(); !status.ok()) return status;
  if (vocab.value().size() > kMaxTokens) return vocab.Wrong("a smaller vocabulary");
  config->vocab.reserve(vocab.value().size());
  std::vector<bool> used;
  for (const auto& [token, value] : vocab.value().items()) {
    const JsonField field(&value, Concat(vocab.path(), "[\"", token.substr(0, 40), "\"]"));
    const auto id = field.Int(0, kMaxTokenId - 1);
    if (!id.ok()) return id.status();
    if (token.size() > kMaxTokenBytes) return field.Wrong("the id of a shorter token");
    if (*id >= used.size()) used.resize(*id + 1);
    if (used[*id]) return field.Wrong("an id that no other token has");
    used[*id] = true;
    config->vocab.emplace_back(token, static_cast<TokenId>(*id));
  }
  return absl::OkStatus();
}

absl::Status ParseMerge(const JsonField& merge, TokenizerConfig* config) {
  const nlohmann::json& value = merge.value();
  if (value.is_array() && value.size() == 2 && value[0].is_string() && value[1].is_string()) {
    config->merges.emplace_back(value[0].get_ref<const std::string&>(),
                                value[1].get_ref<const std::string&>());
    return absl::OkStatus();
  }
  constexpr std::string_view kForm = "two tokens: \"a b\" or [\"a\", \"b\"]";
  if (!value.is_string()) return merge.Wrong(kForm);
  const std::string& line = value.get_ref<const std::string&>();
  if (line.starts_with("#version")) return absl::OkStatus();
  const size_t space = line.find(' ');
  if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) {
    return merge.Wrong(kForm);
  }
  config->merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  return absl::OkStatus();
}

absl::Status ParseModel(const JsonField& model, TokenizerConfig* config) {
  if (absl::Status status = model.RequireObject(); !status.ok()) return status;
  const JsonField type = model.Member("type");
  if (!type.is_null() && type.value() != "BPE") return type.Wrong("\"BPE\"");
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const JsonField field = model.Member(name);
    if (!field.is_null() && field.value() != "") return field.Wrong("null or empty");
  }
  const JsonField dropout = model.Member("dropout");
  if (!dropout.is_null() && dropout.value() != 0.0) return dropout.Wrong("null");
  for (const char* name : {"byte_fallback", "fuse_unk"}) {
    const auto on = model.Member(name).Bool(false);
    if (!on.ok()) return on.status();
    if (*on) return model.Member(name).Wrong("false");
  }
  const auto ignore_merges = model.Member("ignore_merges").Bool(false);
  if (!ignore_merges.ok()) return ignore_merges.status();
  config->ignore_merges = *ignore_merges;
  if (const JsonField unk = model.Member("unk_token"); !unk.is_null()) {
    const auto token = unk.String();
    if (!token.ok()) return token.status();
    config->unk_token = *token;
  }
  if (absl::Status status = ParseVocab(model.Member("vocab"), config); !status.ok()) return status;
  const JsonField merges = model.Member("merges");
  if (absl::Status status = merges.RequireArray(); !status.ok()) return status;
  if (merges.value().size() > kMaxTokens) return merges.Wrong("a shorter list");
  config->merges.reserve(merges.value().size());
  for (size_t i = 0; i < merges.value().size(); ++i) {
    if (absl::Status status = ParseMerge(merges.Element(i), config); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<AddedToken> ParseAddedToken(const JsonField& field) {
  if (absl::Status status = field.RequireObject(); !status.ok()) return status;
  AddedToken token;
  const auto id = field.Member("id").Int(0, kMaxTokenId - 1);
  if (!id.ok()) return id.status();
  token.id = static_cast<TokenId>(*id);
  const auto content = field.Member("content").String();
  if (!content.ok()) return content.status();
  if (content->size() > kMaxTokenBytes) return field.Member("content").Wrong("shorter");
  token.content = *content;
  const std::pair<const char*, bool*> flags[] = {{"single_word", &token.single_word},
                                                 {"lstrip", &token.lstrip},
                                                 {"rstrip", &token.rstrip},
                                                 {"normalized", &token.normalized},
                                                 {"special", &token.special}};
  for (const auto& [name, flag] : flags) {
    const auto value = field.Member(name).Bool(false);
    if (!value.ok()) return value.status();
    *flag = *value;
  }
  return token;
}

absl::Status ParseAddedTokens(const JsonField& tokens, TokenizerConfig* config) {
  if (tokens.is_null()) return absl::OkStatus();
  if (absl::Status status = tokens.RequireArray(); !status.ok()) return status;
  if (tokens.value().size() > kMaxTokens) return tokens.Wrong("a shorter list");
  for (size_t i = 0; i < tokens.value().size(); ++i) {
    auto token = ParseAddedToken(tokens.Element(i));
    if (!token.ok()) return token.status();
    if (!token->content.empty()) config->added_tokens.push_back(*std::move(token));
  }
  return absl::OkStatus();
}

absl::StatusOr<SplitRegex> ParseSplit(const JsonField& split) {
  const JsonField behavior = split.Member("behavior");
  if (behavior.value() != "Isolated") return behavior.Wrong("\"Isolated\"");
  const JsonField regex = split.Member("pattern").Member("Regex");
  const JsonField literal = split.Member("pattern").Member("String");
  if (regex.is_null() && literal.is_null())
    return split.Member("pattern").Wrong("a Regex or String");
  const JsonField& pattern = regex.is_null() ? literal : regex;
  const auto text = pattern.String();
  if (!text.ok()) return text.status();
  auto compiled = regex.is_null() ? SplitRegex::Literal(*text) : SplitRegex::Compile(*text);
  if (compiled.ok()) return compiled;
  return absl::InvalidArgumentError(Concat(pattern.path(), ": ", compiled.status().message()));
}

absl::Status ParseByteLevel(const JsonField& step, PreTokenizer* pre) {
  const auto prefix = step.Member("add_prefix_space").Bool(true);
  const auto use_regex = step.Member("use_regex").Bool(true);
  if (!prefix.ok()) return prefix.status();
  if (!use_regex.ok()) return use_regex.status();
  if (*prefix) pre->AddPrefixSpace();
  if (!*use_regex) return absl::OkStatus();
  auto regex = SplitRegex::Compile(kGpt2Pattern);
  if (!regex.ok()) return regex.status();
  pre->AddSplit(*std::move(regex));
  return absl::OkStatus();
}

absl::Status ParsePreTokenizerStep(const JsonField& step, bool last, PreTokenizer* pre) {
  const JsonField type = step.Member("type");
  if (last) {  // what comes after ByteLevel would see its alphabet, not the text
    return type.value() == "ByteLevel" ? ParseByteLevel(step, pre)
                                       : type.Wrong("\"ByteLevel\", at the end");
  }
  if (type.value() == "Split") {
    auto regex = ParseSplit(step);
    if (!regex.ok()) return regex.status();
    pre->AddSplit(*std::move(regex));
    return absl::OkStatus();
  }
  if (type.value() == "Digits") {
    const auto individual = step.Member("individual_digits").Bool(false);
    if (!individual.ok()) return individual.status();
    auto regex = SplitRegex::Compile(*individual ? "\\p{N}" : "\\p{N}+");
    if (!regex.ok()) return regex.status();
    pre->AddSplit(*std::move(regex));
    return absl::OkStatus();
  }
  return type.Wrong("\"Split\" or \"Digits\", then \"ByteLevel\"");
}

absl::Status ParsePreTokenizer(const JsonField& pre_tokenizer, PreTokenizer* pre) {
  if (pre_tokenizer.Member("type").value() != "Sequence") {
    return ParsePreTokenizerStep(pre_tokenizer, true, pre);
  }
  const JsonField steps = pre_tokenizer.Member("pretokenizers");
  if (absl::Status status = steps.RequireArray(); !status.ok()) return status;
  const size_t count = steps.value().size();
  if (count == 0 || count > kMaxSteps) {
    return steps.Wrong(Concat("an array of 1 to ", kMaxSteps));
  }
  for (size_t i = 0; i < count; ++i) {
    absl::Status status = ParsePreTokenizerStep(steps.Element(i), i + 1 == count, pre);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ParseTemplate(const JsonField& processor, TokenizerConfig* config) {
  const JsonField single = processor.Member("single");
  if (absl::Status status = single.RequireArray(); !status.ok()) return status;
  if (single.value().size() > kMaxSteps) return single.Wrong("a shorter list");
  std::vector<TokenId> prefix, suffix;
  bool seen_text = false;
  for (size_t i = 0; i < single.value().size(); ++i) {
    const JsonField piece = single.Element(i);
    if (const JsonField text = piece.Member("Sequence"); !text.is_null()) {
      if (text.Member("id").value() != "A" || seen_text) return text.Wrong("one Sequence A");
      seen_text = true;
      continue;
    }
    const auto name = piece.Member("SpecialToken").Member("id").String();
    if (!name.ok()) return name.status();
    const JsonField ids = processor.Member("special_tokens").Member(*name).Member("ids");
    if (absl::Status status = ids.RequireArray(); !status.ok()) return status;
    if (ids.value().size() > kMaxSteps) return ids.Wrong("a shorter list");
    for (size_t j = 0; j < ids.value().size(); ++j) {
      const auto id = ids.Element(j).Int(0, kMaxTokenId - 1);
      if (!id.ok()) return id.status();
      (seen_text ? suffix : prefix).push_back(static_cast<TokenId>(*id));
    }
  }
  if (!seen_text) return single.Wrong("a template with Sequence A");
  if (!config->prefix.empty() || !config->suffix.empty()) {
    return single.Wrong("the only template that adds tokens");
  }
  config->prefix = std::move(prefix);
  config->suffix = std::move(suffix);
  return absl::OkStatus();
}

absl::Status ParsePostProcessor(const JsonField& processor, size_t nesting,
                                TokenizerConfig* config) {
  if (processor.is_null()) return absl::OkStatus();
  const JsonField type = processor.Member("type");
  if (type.value() == "ByteLevel") return absl::OkStatus();  // touches offsets, not ids
  if (type.value() == "TemplateProcessing") return ParseTemplate(processor, config);
  if (type.value() != "Sequence" || nesting == kMaxNesting) {
    return type.Wrong("\"TemplateProcessing\", \"ByteLevel\" or a \"Sequence\" of them");
  }
  const JsonField processors = processor.Member("processors");
  if (absl::Status status = processors.RequireArray(); !status.ok()) return status;
  if (processors.value().size() > kMaxSteps) return processors.Wrong("a shorter list");
  for (size_t i = 0; i < processors.value().size(); ++i) {
    absl::Status status = ParsePostProcessor(processors.Element(i), nesting + 1, config);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckNormalizer(const JsonField& normalizer) {
  if (normalizer.is_null()) return absl::OkStatus();
  const JsonField type = normalizer.Member("type");
  const nlohmann::json& sequence = normalizer.Member("normalizers").value();
  if (type.value() == "Sequence" && sequence.is_array() && sequence.empty())
    return absl::OkStatus();
  return type.is_null() ? normalizer.Wrong("null") : type.Wrong("no normalizer at all (null)");
}

absl::Status CheckDecoder(const JsonField& decoder) {
  JsonField last = decoder;
  if (decoder.Member("type").value() == "Sequence") {
    const JsonField decoders = decoder.Member("decoders");
    if (!decoders.value().is_array() || decoders.value().size() != 1) {
      return decoders.Wrong("an array of one decoder");
    }
    last = decoders.Element(0);
  }
  const JsonField type = last.Member("type");
  return type.value() == "ByteLevel" ? absl::OkStatus() : type.Wrong("\"ByteLevel\"");
}

}  // namespace

absl::StatusOr<TokenizerConfig> ParseTokenizerConfig(std::string_view text) {
  const nlohmann::json document = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded()) {
    return absl::InvalidArgumentError("the document: must be JSON, got something else");
  }
  const JsonField root(&document, "");
  if (absl::Status status = root.RequireObject(); !status.ok()) return status;
  TokenizerConfig config;
  // Truncation and padding are for batches of training examples; a prompt is taken as it is.
  if (absl::Status status = CheckNormalizer(root.Member("normalizer")); !status.ok()) return status;
  if (absl::Status status = ParseModel(root.Member("model"), &config); !status.ok()) return status;
  if (absl::Status status = ParseAddedTokens(root.Member("added_tokens"), &config); !status.ok()) {
    return status;
  }
  if (absl::Status status = ParsePreTokenizer(root.Member("pre_tokenizer"), &config.pre_tokenizer);
      !status.ok()) {
    return status;
  }
  if (absl::Status status = ParsePostProcessor(root.Member("post_processor"), 0, &config);
      !status.ok()) {
    return status;
  }
  if (absl::Status status = CheckDecoder(root.Member("decoder")); !status.ok()) return status;
  return config;
}

}  // namespace tidal
