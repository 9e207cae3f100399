#include "tests/server/http/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

namespace tidal {
namespace {

std::string FieldOf(const std::string& head, const std::string& name) {
  const std::string lower_name = "\r\n" + name + ": ";
  for (size_t i = 0; i + lower_name.size() <= head.size(); ++i) {
    if (strncasecmp(head.data() + i, lower_name.data(), lower_name.size()) != 0) continue;
    const size_t start = i + lower_name.size();
    return head.substr(start, head.find("\r\n", start) - start);
  }
  return "";
}

}  // namespace

std::string PostRequest(const std::string& path, const std::string& body,
                        const std::string& extra_headers) {
  return "POST " + path + " HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n" +
         extra_headers + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

std::string GetRequest(const std::string& path, const std::string& extra_headers) {
  return "GET " + path + " HTTP/1.1\r\nHost: test\r\n" + extra_headers + "\r\n";
}

HttpClient::HttpClient(int port) {
  socket_ = socket(AF_INET, SOCK_STREAM, 0);
  const timeval timeout = {20, 0};
  setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  const int small_window = 4096;
  setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &small_window, sizeof(small_window));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) Close();
}

HttpClient::~HttpClient() { Close(); }

void HttpClient::Close() {
  if (socket_ >= 0) close(socket_);
  socket_ = -1;
}

void HttpClient::Reset() {
  const linger abort = {1, 0};
  setsockopt(socket_, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
  Close();
}

bool HttpClient::Send(const std::string& bytes) {
  size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t n = send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += static_cast<size_t>(n);
  }
  return true;
}

bool HttpClient::Receive() {
  char bytes[16384];
  const ssize_t n = recv(socket_, bytes, sizeof(bytes), 0);
  if (n <= 0) return false;
  buffer_.append(bytes, static_cast<size_t>(n));
  return true;
}

bool HttpClient::AtEnd() { return buffer_.empty() && !Receive(); }

std::string HttpClient::ReadUntil(const std::string& text) {
  while (buffer_.find(text) == std::string::npos && Receive()) {
  }
  return std::exchange(buffer_, "");
}

HttpReply HttpClient::ReadReply() {
  HttpReply reply;
  size_t end = 0;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
    if (!Receive()) return reply;
  }
  reply.head = buffer_.substr(0, end + 2);
  buffer_.erase(0, end + 4);
  reply.status = std::atoi(reply.head.c_str() + sizeof("HTTP/1.1"));
  if (reply.status == 100) return ReadReply();
  if (FieldOf(reply.head, "Transfer-Encoding") != "chunked") {
    const std::string length = FieldOf(reply.head, "Content-Length");
    if (length.empty()) {
      while (Receive()) {
      }
      reply.body = std::exchange(buffer_, "");
    } else {
      const size_t wanted = std::strtoul(length.c_str(), nullptr, 10);
      while (buffer_.size() < wanted && Receive()) {
      }
      reply.complete = buffer_.size() >= wanted;
      reply.body = buffer_.substr(0, wanted);
      buffer_.erase(0, wanted);
    }
    return reply;
  }
  while (true) {
    size_t line = 0;
    while ((line = buffer_.find("\r\n")) == std::string::npos) {
      if (!Receive()) return reply;
    }
    const size_t size = std::strtoul(buffer_.c_str(), nullptr, 16);
    while (buffer_.size() < line + 2 + size + 2) {
      if (!Receive()) return reply;
    }
    reply.body += buffer_.substr(line + 2, size);
    buffer_.erase(0, line + 2 + size + 2);
    if (size == 0) {
      reply.complete = true;
      return reply;
    }
  }
}

HttpReply Fetch(int port, const std::string& request) {
  HttpClient client(port);
  client.Send(request);
  return client.ReadReply();
}

}  // namespace tidal
