// Keeps what clients write from becoming special tokens.
//
// Once a chat is rendered, the template's text and the client's are one. So before, in each string
// of the client's, the code point that a special token begins with becomes a stand-in, which no
// string of the client's has. A stand-in is one code point, as what it stands for: what templates
// trim, cut or measure comes out the same. The tokenizer finds no special token at a stand-in, and
// makes plain text of what it stands for (Tokenizer::EncodeChat()).
//
// Strings that lie side by side can make a token together: where one ends like the beginning of a
// special token, or begins like the end of one, that is escaped as well, white space around it
// aside. What is escaped is no more to be found by a template that looks for it.
#ifndef TIDAL_SERVER_TEXT_SPECIAL_TOKEN_ESCAPE_H_
#define TIDAL_SERVER_TEXT_SPECIAL_TOKEN_ESCAPE_H_

#include "absl/status/statusor.h"
#include "server/text/chat_template.h"
#include "server/text/special_token_texts.h"
#include "server/text/stand_ins.h"

namespace tidal {

// Puts stand-ins into every string of `input` that a client wrote, roles that templates know
// excepted. INVALID_ARGUMENT where the strings have every code point that could be one.
absl::StatusOr<StandIns> EscapeSpecialTokens(const SpecialTokenTexts& special,
                                             ChatTemplateInput* input);

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_SPECIAL_TOKEN_ESCAPE_H_
