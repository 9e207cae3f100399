// What browsers ask before a page of another origin may use the API (CORS).
//
// Keys come in the Authorization header, which the page sets itself: no reply allows credentials,
// so no page gets in by what a browser would send unasked (cookies, certificates).
#ifndef TIDAL_SERVER_HTTP_CORS_H_
#define TIDAL_SERVER_HTTP_CORS_H_

#include <optional>
#include <string>
#include <vector>

#include "server/http/http_message.h"

namespace tidal {

// `allowed`, here and below: origins as browsers send them, or "*"; empty: CORS is off.
//
// What every reply to a request of `origin` (empty: it named none) carries.
void AddCorsHeaders(const std::vector<std::string>& allowed, const std::string& origin,
                    HttpHeaders* headers);

// The answer to an allowed origin's question before its request; nothing for other requests. The
// headers of AddCorsHeaders() come on top.
std::optional<HttpResponse> AnswerPreflight(const std::vector<std::string>& allowed,
                                            const HttpRequest& request);

}  // namespace tidal

#endif  // TIDAL_SERVER_HTTP_CORS_H_
