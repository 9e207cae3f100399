#include "engine/parallel/shared_link.h"

#include <chrono>
#include <cstring>

#include "engine/base/check.h"
#include "kernels/ranks/rank_exchange.h"
#include "kernels/ranks/rank_stream.h"

namespace tidal {
namespace {

class SharedLink final : public RankLink {
 public:
  explicit SharedLink(RankGroup* group)
      : group_(group),
        stream_(group, group->stream_area()),
        exchange_(group, group->host_area(), kHostPiece) {}

  int32_t rank() const override { return group_->rank(); }
  int32_t size() const override { return group_->size(); }

  absl::Status Send(absl::Span<const char> message) override {
    TIDAL_CHECK(rank() == 0 && message.size() <= UINT32_MAX);
    const auto size = static_cast<uint32_t>(message.size());
    if (!stream_.Write(&size, sizeof(size)) || !stream_.Write(message.data(), size)) {
      return Failure();
    }
    return absl::OkStatus();
  }

  absl::StatusOr<bool> Receive(absl::Duration patience, std::vector<char>* message) override {
    TIDAL_CHECK(rank() > 0);
    if (!stream_.HasBytes(absl::ToChronoMilliseconds(patience))) {
      if (group_->failed()) return Failure();
      return false;
    }
    uint32_t size = 0;
    if (!stream_.Read(&size, sizeof(size))) return Failure();
    message->resize(size);
    if (!stream_.Read(message->data(), size)) return Failure();
    return true;
  }

  absl::StatusOr<std::vector<int64_t>> Gather(int64_t mine) override {
    std::vector<int64_t> all(group_->size());
    const auto take = [&](const char* const* pieces, size_t, size_t) {
      for (size_t i = 0; i < all.size(); ++i) std::memcpy(&all[i], pieces[i], sizeof(mine));
    };
    if (!exchange_.Run(&mine, sizeof(mine), take)) return Failure();
    return all;
  }

  void Fail(absl::string_view reason) override {
    group_->Fail(group_->rank(), {reason.data(), reason.size()});
  }

 private:
  absl::Status Failure() const { return absl::UnavailableError(group_->failure()); }

  RankGroup* const group_;
  RankStream stream_;
  RankExchange exchange_;
};

}  // namespace

std::unique_ptr<RankLink> MakeSharedLink(RankGroup* group) {
  return std::make_unique<SharedLink>(group);
}

}  // namespace tidal
