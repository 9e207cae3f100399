// Parts of a JSON document as the client wrote them. A parsed tree forgets the order of keys and
// how numbers were written, and chat templates print both.
//
// The arguments are valid JSON; the results are views into them.
#ifndef TIDAL_SERVER_OPENAI_RAW_JSON_H_
#define TIDAL_SERVER_OPENAI_RAW_JSON_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tidal {

// The value of the last member of that name; empty when there is none.
absl::string_view RawMember(absl::string_view object, const char* name);

// The same for several names, in their order, by one look at the object.
std::vector<absl::string_view> RawMembers(absl::string_view object,
                                          const std::vector<const char*>& names);

// The values of an array.
std::vector<absl::string_view> RawElements(absl::string_view array);

// The same JSON on one line: without the white space between its parts.
std::string OnOneLine(absl::string_view json);

}  // namespace tidal

#endif  // TIDAL_SERVER_OPENAI_RAW_JSON_H_
