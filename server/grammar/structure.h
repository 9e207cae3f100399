// What an output has to be, as one structural tag: the JSON that the library of grammars composes a
// grammar from. Reasoning, calls and an answer each have a part in it.
#ifndef TIDAL_SERVER_GRAMMAR_STRUCTURE_H_
#define TIDAL_SERVER_GRAMMAR_STRUCTURE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/ids.h"
#include "nlohmann/json.hpp"
#include "proto/tidal/v1/inference.pb.h"
#include "server/reply/call_writing.h"
#include "server/reply/reply_format.h"
#include "server/text/tokenizer.h"

namespace tidal {

// A part of a structural tag.
using StructureFormat = nlohmann::ordered_json;

// What is asked for of the answer. INVALID_ARGUMENT "structured_output.json_schema: must be ...".
absl::StatusOr<StructureFormat> AnswerFormat(const v1::StructuredOutput& wanted);

// Of whitespace between the parts of JSON: models with nothing to say fill pages with it.
inline constexpr int kMaxWhitespace = 8;

// The type of a part that is JSON without any: GrammarLibrary knows it, xgrammar does not.
inline constexpr char kCompactSchema[] = "compact_json_schema";

// JSON that the prepared schema accepts; and the schema of any object.
StructureFormat SchemaFormat(StructureFormat schema, int max_whitespace = kMaxWhitespace);
StructureFormat AnyObjectSchema();

struct CallableTool {
  std::string name;
  nlohmann::ordered_json parameters;  // a prepared schema
  bool strict = false;                // its arguments are as the schema says, also unasked
};

struct StructureParts {
  std::optional<StructureFormat> answer;  // nothing: any text

  const CallFormat* calls = nullptr;  // null: no calls
  std::vector<CallableTool> tools;    // that may be called
  bool calls_required = false;        // calls and nothing else
  bool single_call = false;           // at most one

  const ReasoningFormat* reasoning = nullptr;  // null: none comes first
  bool starts_in_reasoning = false;
  std::optional<int32_t> reasoning_budget;  // tokens

  SpecialMarkers special;                // markers that are special tokens
  const Tokenizer* tokenizer = nullptr;  // knows their ids
  std::vector<TokenId> stop_tokens;      // never part of the reasoning
};

// The structural tag; nothing where any output will do.
std::optional<std::string> StructureOf(const StructureParts& parts);

}  // namespace tidal

#endif  // TIDAL_SERVER_GRAMMAR_STRUCTURE_H_
