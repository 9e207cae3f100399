#include "server/grpc/grpc_door.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "tests/server/grpc/http2_frames.h"

namespace tidal {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr absl::Duration kLongWait = absl::Seconds(60);

// A file descriptor whose reads and writes wait, closed at the end.
class Socket {
 public:
  explicit Socket(int file) : file_(file) {
    const timeval patience = {.tv_sec = 60, .tv_usec = 0};
    setsockopt(file_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(file_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  }
  Socket(Socket&& other) : file_(std::exchange(other.file_, -1)) {}
  ~Socket() { Close(); }

  void Close() {
    if (file_ >= 0) close(std::exchange(file_, -1));
  }
  void ShutdownSend() { shutdown(file_, SHUT_WR); }

  // How many bytes the other side took before it ended the connection.
  size_t Send(absl::string_view bytes) {
    size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t taken = send(file_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (taken <= 0) break;
      sent += static_cast<size_t>(taken);
    }
    return sent;
  }
  std::string Receive(size_t size) {
    std::string bytes(size, '\0');
    size_t received = 0;
    while (received < size) {
      const ssize_t got = recv(file_, bytes.data() + received, size - received, 0);
      if (got <= 0) break;
      received += static_cast<size_t>(got);
    }
    bytes.resize(received);
    return bytes;
  }
  // What there is, at most `size`; empty at the end.
  std::string ReceiveSome(size_t size) {
    std::string bytes(size, '\0');
    bytes.resize(static_cast<size_t>(std::max<ssize_t>(0, recv(file_, bytes.data(), size, 0))));
    return bytes;
  }
  // Until the other side ends the connection, in whatever way.
  std::string ReceiveAll() { return Receive(64 << 20); }

 private:
  int file_;
};

// A door whose connections come to the test in gRPC's place.
class GrpcDoorTest : public ::testing::Test {
 protected:
  void Open() {
    options_.hand_over = [this](int file) {
      const int flags = fcntl(file, F_GETFL);
      fcntl(file, F_SETFL, flags & ~O_NONBLOCK);
      absl::MutexLock lock(&mutex_);
      handed_over_.emplace_back(file);
    };
    auto door = GrpcDoor::Open(options_);
    ASSERT_TRUE(door.ok()) << door.status();
    door_ = *std::move(door);
  }

  Socket Connect() {
    const int file = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(door_->port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(0, connect(file, reinterpret_cast<const sockaddr*>(&address), sizeof(address)));
    return Socket(file);
  }

  // gRPC's end of the connection that was handed over next.
  Socket Accept() {
    absl::MutexLock lock(&mutex_);
    const auto came = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !handed_over_.empty(); };
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&came), kLongWait));
    if (handed_over_.empty()) return Socket(-1);
    Socket inner = std::move(handed_over_.front());
    handed_over_.pop_front();
    return inner;
  }

  bool HasHandedOver() {
    absl::MutexLock lock(&mutex_);
    return !handed_over_.empty();
  }

  void ExpectMetric(const std::string& line) {
    const auto deadline = absl::Now() + kLongWait;
    while (door_->RenderMetrics().find(line + "\n") == std::string::npos) {
      ASSERT_LT(absl::Now(), deadline) << line << "\n" << door_->RenderMetrics();
      absl::SleepFor(absl::Milliseconds(5));
    }
  }

  const std::string opening_ = absl::StrCat(kHttp2Preface, Http2Frame(kSettings, ""));
  GrpcDoorOptions options_;
  absl::Mutex mutex_;
  std::deque<Socket> handed_over_;
  std::unique_ptr<GrpcDoor> door_;
};

TEST_F(GrpcDoorTest, BytesPassBothWays) {
  Open();
  Socket client = Connect();
  client.Send(opening_);
  Socket inner = Accept();
  EXPECT_EQ(opening_, inner.Receive(opening_.size()));
  inner.Send("to the client");
  EXPECT_EQ("to the client", client.Receive(13));
  ExpectMetric("tidal:grpc_connections 1");
  client.ShutdownSend();
  EXPECT_EQ("", inner.ReceiveAll());
  inner.Send("the end");
  inner.Close();
  EXPECT_EQ("the end", client.ReceiveAll());
  ExpectMetric("tidal:grpc_connections 0");
}

TEST_F(GrpcDoorTest, MuchPassesBothWaysAtOnce) {
  Open();
  std::string data = opening_;
  for (int i = 0; i < 1000; ++i) {
    data += Http2Frame(kData, std::string(1 + i * 7, static_cast<char>(i)), 0, 1);
  }
  Socket client = Connect();
  std::thread sends([&] { client.Send(data); });
  Socket inner = Accept();
  std::thread echoes([&] {
    for (std::string part; !(part = inner.ReceiveSome(1000)).empty();) inner.Send(part);
  });
  const std::string echo = client.Receive(data.size());
  client.ShutdownSend();
  sends.join();
  echoes.join();
  EXPECT_TRUE(data == echo);
}

TEST_F(GrpcDoorTest, AnEndlessHeaderIsCutAtItsLimit) {
  options_.max_header_block_bytes = 64 << 10;
  Open();
  Socket client = Connect();
  client.Send(opening_ + Http2Frame(kHeaders, std::string(1000, 'h'), 0, 1));
  Socket inner = Accept();
  std::string passed;
  std::thread grpc([&] {
    passed = inner.ReceiveAll();
    inner.Send("gRPC's last");
    inner.Close();
  });
  const std::string more = Http2Frame(kContinuation, std::string(16'000, 'h'), 0, 1);
  std::string flood;
  for (int i = 0; i < 2000; ++i) flood += more;  // 32 MB
  std::string reply;
  std::thread reads([&] { reply = client.ReceiveAll(); });
  // What the sockets hold, what is read in one piece, and what is read while the client should go.
  EXPECT_LT(client.Send(flood), 16 << 20);
  reads.join();
  grpc.join();
  EXPECT_LE(passed.size(), (64 << 10) + opening_.size());
  ExpectMetric("tidal:grpc_connections_cut_total{reason=\"header_too_large\"} 1");
  ExpectMetric("tidal:grpc_connections 0");
}

TEST_F(GrpcDoorTest, AClientThatStopsIsToldWhyItIsCut) {
  options_.max_header_block_bytes = 2000;
  Open();
  Socket client = Connect();
  client.Send(opening_);
  Socket inner = Accept();
  client.Send(Http2Frame(kHeaders, std::string(3000, 'h'), kEndHeaders, 1));
  EXPECT_EQ(opening_, inner.ReceiveAll());
  inner.Send("gRPC's last");
  inner.Close();
  const std::string reply = client.ReceiveAll();
  EXPECT_THAT(reply, StartsWith("gRPC's last"));
  EXPECT_THAT(reply, HasSubstr("at most 2000 bytes (max_header_bytes)"));
}

TEST_F(GrpcDoorTest, WhatIsNotHttp2NeverReachesGrpc) {
  Open();
  Socket client = Connect();
  client.Send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
  EXPECT_THAT(client.ReceiveAll(), HasSubstr("400 Bad Request"));
  EXPECT_FALSE(HasHandedOver());
  ExpectMetric("tidal:grpc_connections_cut_total{reason=\"not_http2\"} 1");
}

TEST_F(GrpcDoorTest, TheOpeningAndEachHeaderMustEndInTime) {
  options_.header_timeout = absl::Milliseconds(300);
  Open();
  Socket silent = Connect();
  Socket slow = Connect();
  slow.Send(opening_ + Http2Frame(kHeaders, "h", 0, 1));
  Socket slow_inner = Accept();
  Socket patient = Connect();
  patient.Send(opening_);
  Socket patient_inner = Accept();
  EXPECT_EQ("", silent.ReceiveAll());
  EXPECT_EQ("", slow.ReceiveAll());
  ExpectMetric("tidal:grpc_connections 1");
  patient.Send("");
  patient_inner.Send("still here");
  EXPECT_EQ("still here", patient.Receive(10));
}

TEST_F(GrpcDoorTest, AClientThatTakesNothingIsCut) {
  options_.write_timeout = absl::Milliseconds(300);
  Open();
  Socket client = Connect();
  client.Send(opening_);
  Socket inner = Accept();
  EXPECT_LT(inner.Send(std::string(64 << 20, 'x')), 64 << 20);
  ExpectMetric("tidal:grpc_connections 0");
}

TEST_F(GrpcDoorTest, ConnectionsHaveALimit) {
  options_.max_connections = 2;
  Open();
  Socket first = Connect(), second = Connect();
  ExpectMetric("tidal:grpc_connections 2");
  EXPECT_EQ("", Connect().ReceiveAll());
  first.Close();
  ExpectMetric("tidal:grpc_connections 1");
  Socket third = Connect();
  third.Send(opening_);
  EXPECT_EQ(opening_, Accept().Receive(opening_.size()));
}

TEST_F(GrpcDoorTest, ClosingEndsWhatIsOpen) {
  Open();
  Socket client = Connect();
  client.Send(opening_);
  Socket inner = Accept();
  std::thread closes([&] { door_->Close(absl::Milliseconds(50)); });
  EXPECT_EQ("", client.ReceiveAll());
  closes.join();
  inner.Receive(opening_.size());
  EXPECT_EQ("", inner.ReceiveAll());
}

TEST_F(GrpcDoorTest, AnAddressInUseNamesTheFlag) {
  Open();
  GrpcDoorOptions other = options_;
  other.port = door_->port();
  const absl::Status status = GrpcDoor::Open(other).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), StartsWith("grpc_port: cannot listen on 127.0.0.1:"));
}

}  // namespace
}  // namespace tidal
