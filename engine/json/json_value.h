// What a JSON value holds, by one set of rules for model folders, tokenizers and clients' requests.
// Around it there are JsonFile (a file of a model's folder), JsonField (a place in a
// tokenizer.json) and JsonFields (a client's object); they differ in what they say of a value that
// does not fit, and to whom. For .cc files. Pure functions.
#ifndef TIDAL_ENGINE_JSON_JSON_VALUE_H_
#define TIDAL_ENGINE_JSON_JSON_VALUE_H_

#include <cstdint>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tidal {

// The member of that name; null when there is none or it is null. Null, too, unless `object` is
// one.
const nlohmann::json* FindMember(const nlohmann::json& object, const std::string& name);

// A whole number, also written as 5.0 (as pydantic-based servers take it), in [min, max].
std::optional<int64_t> ToInteger(const nlohmann::json& value,
                                 int64_t min = std::numeric_limits<int64_t>::min(),
                                 int64_t max = std::numeric_limits<int64_t>::max());
std::optional<double> ToNumber(const nlohmann::json& value, double min, double max);
// An array of token ids: integers in [0, max], nothing else.
std::optional<std::vector<uint32_t>> ToTokenIds(
    const nlohmann::json& value, uint32_t max = std::numeric_limits<uint32_t>::max());

// Whether the text is JSON, whole: the library takes a NUL byte for the end of a text.
bool IsJson(absl::string_view text);

// The value as a message may quote it: JSON, cut short; containers by their size alone.
std::string QuoteJson(const nlohmann::json& value);

}  // namespace tidal

#endif  // TIDAL_ENGINE_JSON_JSON_VALUE_H_
