// The id of a request, which its reply, log lines and errors carry.
#ifndef TIDAL_SERVER_HTTP_REQUEST_ID_H_
#define TIDAL_SERVER_HTTP_REQUEST_ID_H_

#include <string>

namespace tidal {

// The client's own id where it can stand in a header and a log line, else a random one.
std::string RequestId(const std::string& wanted);

}  // namespace tidal

#endif  // TIDAL_SERVER_HTTP_REQUEST_ID_H_
