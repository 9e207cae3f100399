// Filters and tests that a template uses and that do not exist.
#ifndef TIDAL_SERVER_TEXT_JINJA_CHECK_NAMES_H_
#define TIDAL_SERVER_TEXT_JINJA_CHECK_NAMES_H_

#include "absl/status/status.h"
#include "server/text/jinja/ast.h"

namespace tidal::jinja {

// INVALID_ARGUMENT "line 3, column 7: No filter named 'x'.". As in Jinja, what {% if %} or an
// inline if may never reach is left to the rendering: templates try what a server has with it.
absl::Status CheckNames(const Block& block);

}  // namespace tidal::jinja

#endif  // TIDAL_SERVER_TEXT_JINJA_CHECK_NAMES_H_
