// The model of a tokenizer.json, and the tokens added to it.
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/status_macros.h"
#include "server/text/concat.h"
#include "server/text/tokenizer_parts.h"

namespace tidal {
namespace {

constexpr size_t kMaxTokens = kMaxTokenId;

absl::Status ParseVocab(const JsonField& vocab, BpeConfig* config) {
  TIDAL_RETURN_IF_ERROR(vocab.RequireObject());
  if (vocab.value().size() > kMaxTokens) return vocab.Wrong("a smaller vocabulary");
  config->vocab.reserve(vocab.value().size());
  std::vector<bool> used;
  for (const auto& [token, value] : vocab.value().items()) {
    const JsonField field(&value, Concat(vocab.path(), "[\"", token.substr(0, 40), "\"]"));
    TIDAL_ASSIGN_OR_RETURN(const int64_t id, field.Int(0, kMaxTokenId - 1));
    if (token.size() > kMaxTokenBytes) return field.Wrong("the id of a shorter token");
    if (id >= used.size()) used.resize(id + 1);
    if (used[id]) return field.Wrong("an id that no other token has");
    used[id] = true;
    config->vocab.emplace_back(token, static_cast<TokenId>(id));
  }
  return absl::OkStatus();
}

absl::Status ParseMerge(const JsonField& merge, BpeConfig* config) {
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

absl::Status ParseMerges(const JsonField& merges, BpeConfig* config) {
  TIDAL_RETURN_IF_ERROR(merges.RequireArray());
  if (merges.value().size() > kMaxTokens) return merges.Wrong("a shorter list");
  config->merges.reserve(merges.value().size());
  for (size_t i = 0; i < merges.value().size(); ++i) {
    TIDAL_RETURN_IF_ERROR(ParseMerge(merges.Element(i), config));
  }
  return absl::OkStatus();
}

// An affix that is null or not there is empty.
absl::Status ParseAffix(const JsonField& field, std::string* affix) {
  if (field.is_null()) return absl::OkStatus();
  TIDAL_ASSIGN_OR_RETURN(*affix, field.String());
  return affix->size() > kMaxTokenBytes ? field.Wrong("shorter") : absl::OkStatus();
}

absl::StatusOr<AddedToken> ParseAddedToken(const JsonField& field) {
  TIDAL_RETURN_IF_ERROR(field.RequireObject());
  AddedToken token;
  TIDAL_ASSIGN_OR_RETURN(const int64_t id, field.Member("id").Int(0, kMaxTokenId - 1));
  token.id = static_cast<TokenId>(id);
  TIDAL_ASSIGN_OR_RETURN(token.content, field.Member("content").String());
  if (token.content.size() > kMaxTokenBytes) return field.Member("content").Wrong("shorter");
  const std::pair<const char*, bool*> flags[] = {{"single_word", &token.single_word},
                                                 {"lstrip", &token.lstrip},
                                                 {"rstrip", &token.rstrip},
                                                 {"normalized", &token.normalized},
                                                 {"special", &token.special}};
  for (const auto& [name, flag] : flags) {
    TIDAL_ASSIGN_OR_RETURN(*flag, field.Member(name).Bool(false));
  }
  return token;
}

}  // namespace

absl::StatusOr<BpeConfig> ParseModel(const JsonField& model) {
  TIDAL_RETURN_IF_ERROR(model.RequireObject());
  const JsonField type = model.Member("type");
  if (!type.is_null() && type.value() != "BPE") return type.Wrong("\"BPE\"");
  BpeConfig config;
  const JsonField dropout = model.Member("dropout");
  if (!dropout.is_null() && dropout.value() != 0.0) return dropout.Wrong("null");
  TIDAL_RETURN_IF_ERROR(
      ParseAffix(model.Member("continuing_subword_prefix"), &config.continuing_subword_prefix));
  TIDAL_RETURN_IF_ERROR(ParseAffix(model.Member("end_of_word_suffix"), &config.end_of_word_suffix));
  TIDAL_ASSIGN_OR_RETURN(config.byte_fallback, model.Member("byte_fallback").Bool(false));
  TIDAL_ASSIGN_OR_RETURN(config.fuse_unk, model.Member("fuse_unk").Bool(false));
  TIDAL_ASSIGN_OR_RETURN(config.ignore_merges, model.Member("ignore_merges").Bool(false));
  if (const JsonField unk = model.Member("unk_token"); !unk.is_null()) {
    TIDAL_ASSIGN_OR_RETURN(config.unk_token, unk.String());
  }
  TIDAL_RETURN_IF_ERROR(ParseVocab(model.Member("vocab"), &config));
  TIDAL_RETURN_IF_ERROR(ParseMerges(model.Member("merges"), &config));
  return config;
}

absl::StatusOr<std::vector<AddedToken>> ParseAddedTokens(const JsonField& tokens) {
  std::vector<AddedToken> added;
  if (tokens.is_null()) return added;
  TIDAL_RETURN_IF_ERROR(tokens.RequireArray());
  if (tokens.value().size() > kMaxTokens) return tokens.Wrong("a shorter list");
  absl::flat_hash_map<std::string, size_t> index;  // in `added`, by content
  for (size_t i = 0; i < tokens.value().size(); ++i) {
    const JsonField field = tokens.Element(i);
    TIDAL_ASSIGN_OR_RETURN(AddedToken token, ParseAddedToken(field));
    if (token.content.empty()) continue;
    const auto [it, is_new] = index.try_emplace(token.content, added.size());
    if (is_new) {
      added.push_back(std::move(token));
    } else if (added[it->second].id == token.id) {
      added[it->second] = std::move(token);  // the later one counts
    } else {
      return field.Member("id").Wrong("the id that the same content had before");
    }
  }
  return added;
}

}  // namespace tidal
