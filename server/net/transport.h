// The bytes of one connection, plain or through TLS: the same four operations on both.
#ifndef TIDAL_SERVER_NET_TRANSPORT_H_
#define TIDAL_SERVER_NET_TRANSPORT_H_

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <memory>
#include <utility>
#include <variant>

namespace tidal {

// Everything happens on the strand that the socket runs on. At most one read and one write at a
// time.
class Transport {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  using TlsStream = boost::asio::ssl::stream<Socket>;

  // `tls` null: plain.
  Transport(Socket socket, std::shared_ptr<boost::asio::ssl::context> tls)
      : tls_(std::move(tls)), stream_(MakeStream(std::move(socket), tls_.get())) {}

  bool is_tls() const { return tls_ != nullptr; }
  Socket& socket() {
    if (Socket* plain = std::get_if<Socket>(&stream_)) return *plain;
    return std::get<TlsStream>(stream_).next_layer();
  }

  // handler(error_code), before the first read or write of a transport with TLS.
  template <typename Handler>
  void Handshake(Handler handler) {
    std::get<TlsStream>(stream_).async_handshake(TlsStream::server, std::move(handler));
  }
  // handler(error_code, size)
  template <typename Buffers, typename Handler>
  void ReadSome(const Buffers& buffers, Handler handler) {
    Visit([&](auto& stream) { stream.async_read_some(buffers, std::move(handler)); });
  }
  // handler(error_code, size) once all is written; progress(error_code, size) -> size_t before each
  // part, as asio's completion conditions.
  template <typename Buffers, typename Progress, typename Handler>
  void Write(const Buffers& buffers, Progress progress, Handler handler) {
    Visit([&](auto& stream) {
      boost::asio::async_write(stream, buffers, std::move(progress), std::move(handler));
    });
  }
  // Tells the client that nothing more comes. `keep` is held until that is done. With TLS what the
  // client sends after it is an error of the next read.
  template <typename Keep>
  void ShutdownSend(Keep keep) {
    if (TlsStream* stream = std::get_if<TlsStream>(&stream_)) {
      stream->async_shutdown([keep = std::move(keep)](const boost::system::error_code&) {});
    } else {
      boost::system::error_code ignored;
      socket().shutdown(Socket::shutdown_send, ignored);
    }
  }

 private:
  using Stream = std::variant<Socket, TlsStream>;

  static Stream MakeStream(Socket socket, boost::asio::ssl::context* tls) {
    if (tls == nullptr) return Stream(std::move(socket));
    return Stream(std::in_place_type<TlsStream>, std::move(socket), *tls);
  }

  template <typename Operation>
  void Visit(Operation operation) {
    if (Socket* plain = std::get_if<Socket>(&stream_)) return operation(*plain);
    operation(std::get<TlsStream>(stream_));
  }

  const std::shared_ptr<boost::asio::ssl::context> tls_;  // outlives the stream
  Stream stream_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_NET_TRANSPORT_H_
