// A template's source as tokens, with white space control already applied: as transformers has it,
// with trim_blocks and lstrip_blocks on.
#ifndef TIDAL_SERVER_TEXT_JINJA_LEXER_H_
#define TIDAL_SERVER_TEXT_JINJA_LEXER_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/text/jinja/ast.h"

namespace tidal::jinja {

struct Token {
  enum Kind {
    kText,
    kOutputBegin,  // {{
    kOutputEnd,
    kBlockBegin,  // {%
    kBlockEnd,
    kName,
    kString,    // text: with its escapes resolved
    kInteger,   // text: digits, as written
    kFloat,     // text: as written
    kOperator,  // text
    kEnd,
  };
  Kind kind;
  std::string text;
  Position at;
};

// INVALID_ARGUMENT "line 3, column 7: ..." ; the last token is kEnd. `source` is valid UTF-8.
absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source);

std::string DescribePosition(Position at);  // "line 3, column 7: "

}  // namespace tidal::jinja

#endif  // TIDAL_SERVER_TEXT_JINJA_LEXER_H_
