#include "server/net/deadline.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <memory>

namespace tidal {
namespace {

// What a deadline ends.
struct Owner : std::enable_shared_from_this<Owner> {
  explicit Owner(boost::asio::io_context* io)
      : deadline(io->get_executor(), [this] { ++expired; }) {}
  void Set(absl::Duration from_now) { deadline.Set(from_now, shared_from_this()); }

  int expired = 0;
  Deadline deadline;
};

class DeadlineTest : public ::testing::Test {
 protected:
  boost::asio::io_context io_;
  std::shared_ptr<Owner> owner_ = std::make_shared<Owner>(&io_);
};

TEST_F(DeadlineTest, PassesOnce) {
  owner_->Set(absl::Milliseconds(2));
  io_.run();
  EXPECT_EQ(1, owner_->expired);
  EXPECT_FALSE(owner_->deadline.is_set());
}

TEST_F(DeadlineTest, TheLastOneSetCounts) {
  owner_->Set(absl::Hours(1));
  owner_->Set(absl::Milliseconds(2));
  io_.run();
  EXPECT_EQ(1, owner_->expired);

  owner_->Set(absl::Milliseconds(1));
  owner_->Set(absl::Milliseconds(20));
  io_.restart();
  const auto begin = std::chrono::steady_clock::now();
  io_.run();
  EXPECT_EQ(2, owner_->expired);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(20));
}

TEST_F(DeadlineTest, AClearedOneDoesNotPass) {
  owner_->Set(absl::Milliseconds(2));
  owner_->deadline.Clear();
  io_.run();
  EXPECT_EQ(0, owner_->expired);
  owner_->Set(absl::Milliseconds(2));
  io_.restart();
  io_.run();
  EXPECT_EQ(1, owner_->expired);
}

TEST_F(DeadlineTest, AStoppedOneLetsItsOwnerGo) {
  owner_->Set(absl::Hours(1));
  std::weak_ptr<Owner> weak = owner_;
  owner_->deadline.Stop();
  owner_->Set(absl::Hours(1));  // says nothing any more
  owner_.reset();
  io_.run();
  EXPECT_TRUE(weak.expired());
}

}  // namespace
}  // namespace tidal
