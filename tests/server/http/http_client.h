// A blocking HTTP/1.1 client that lets a test see and break every byte.
#ifndef TIDAL_TESTS_SERVER_HTTP_HTTP_CLIENT_H_
#define TIDAL_TESTS_SERVER_HTTP_HTTP_CLIENT_H_

#include <string>

namespace tidal {

struct HttpReply {
  int status = 0;
  std::string head;  // as received
  std::string body;  // without chunk framing
  bool complete = false;
};

// A JSON POST and a GET as they go over the wire.
std::string PostRequest(const std::string& path, const std::string& body,
                        const std::string& extra_headers = "");
std::string GetRequest(const std::string& path, const std::string& extra_headers = "");

// Reads give up after 20 s, so that a broken server fails a test instead of hanging it.
class HttpClient {
 public:
  explicit HttpClient(int port);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  bool connected() const { return socket_ >= 0; }
  bool Send(const std::string& bytes);
  HttpReply ReadReply();
  // Bytes until `text` has come (and maybe more); what came where the connection ended before.
  std::string ReadUntil(const std::string& text);
  bool AtEnd();  // the server has closed the connection
  void Close();
  void Reset();  // closes with a TCP reset

 private:
  bool Receive();

  int socket_ = -1;
  std::string buffer_;
};

// One request on a connection of its own.
HttpReply Fetch(int port, const std::string& request);

}  // namespace tidal

#endif  // TIDAL_TESTS_SERVER_HTTP_HTTP_CLIENT_H_
