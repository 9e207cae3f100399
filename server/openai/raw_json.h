// Parts of a JSON document as the client wrote them. A parsed tree forgets the order of keys and
// how numbers were written, and chat templates print both.
//
// The arguments are valid JSON; the results are views into them.
#ifndef TIDAL_SERVER_OPENAI_RAW_JSON_H_
#define TIDAL_SERVER_OPENAI_RAW_JSON_H_

#include <vector>

#include "absl/strings/string_view.h"

namespace tidal {

// The value of the last member of that name; empty when there is none.
absl::string_view RawMember(absl::string_view object, absl::string_view name);

// The values of an array.
std::vector<absl::string_view> RawElements(absl::string_view array);

}  // namespace tidal

#endif  // TIDAL_SERVER_OPENAI_RAW_JSON_H_
