#include "server/net/open_connections.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <vector>

namespace tidal {
namespace {

struct FakeConnection {
  ~FakeConnection() {
    if (on_end) on_end();
  }
  void Close() {
    ++closed;
    if (on_close) on_close();
  }

  int closed = 0;
  std::function<void()> on_close, on_end;
};

TEST(OpenConnectionsTest, ClosesThoseThatAreOpenAndTakesNoMore) {
  OpenConnections<FakeConnection> connections;
  const auto open = std::make_shared<FakeConnection>();
  auto ended = std::make_shared<FakeConnection>();
  EXPECT_TRUE(connections.Add(open));
  EXPECT_TRUE(connections.Add(ended));
  ended.reset();
  connections.CloseAll();
  EXPECT_EQ(1, open->closed);
  EXPECT_FALSE(connections.Add(open));
  connections.CloseAll();
  EXPECT_EQ(1, open->closed) << "each is closed once";
}

TEST(OpenConnectionsTest, EndedOnesAreForgotten) {
  OpenConnections<FakeConnection> connections;
  std::vector<std::shared_ptr<FakeConnection>> open;
  for (int i = 0; i < 10'000; ++i) {
    auto connection = std::make_shared<FakeConnection>();
    EXPECT_TRUE(connections.Add(connection));
    const size_t num_open = open.size() + 1;  // with this one
    EXPECT_LE(connections.size(), 2 * num_open + 64);
    if (i % 100 == 0) open.push_back(std::move(connection));
  }
  connections.CloseAll();
  for (const auto& connection : open) EXPECT_EQ(1, connection->closed);
}

// A connection's end tells its port, which may be asked for its connections under the same lock.
TEST(OpenConnectionsTest, NoConnectionIsLetGoOfUnderTheLock) {
  OpenConnections<FakeConnection> connections;
  auto last = std::make_shared<FakeConnection>();
  bool ended = false;
  last->on_close = [&last] { last.reset(); };
  last->on_end = [&] { ended = !connections.Add(nullptr); };
  EXPECT_TRUE(connections.Add(last));
  connections.CloseAll();
  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace tidal
