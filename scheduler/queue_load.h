// What waits: counted in requests and in tokens, in all and for each tenant.
#ifndef TIDAL_SCHEDULER_QUEUE_LOAD_H_
#define TIDAL_SCHEDULER_QUEUE_LOAD_H_

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace tidal {

struct QueueLoad {
  int32_t requests = 0;
  int64_t tokens = 0;  // as Request::expected_tokens

  QueueLoad& operator+=(const QueueLoad& other) {
    requests += other.requests;
    tokens += other.tokens;
    return *this;
  }
  QueueLoad& operator-=(const QueueLoad& other) {
    requests -= other.requests;
    tokens -= other.tokens;
    return *this;
  }
  friend QueueLoad operator+(QueueLoad left, const QueueLoad& right) { return left += right; }
  friend bool operator==(const QueueLoad&, const QueueLoad&) = default;
};

// Not thread-safe. Knows only tenants that wait, so it is as small as the queue.
class TenantLoads {
 public:
  void Add(absl::string_view tenant, const QueueLoad& load) {
    total_ += load;
    by_tenant_[tenant] += load;
  }
  // Precondition: it was added.
  void Remove(absl::string_view tenant, const QueueLoad& load) {
    total_ -= load;
    const auto it = by_tenant_.find(tenant);
    it->second -= load;
    if (it->second.requests == 0) by_tenant_.erase(it);
  }

  const QueueLoad& total() const { return total_; }
  QueueLoad Of(absl::string_view tenant) const {
    const auto it = by_tenant_.find(tenant);
    return it == by_tenant_.end() ? QueueLoad() : it->second;
  }
  int32_t num_tenants() const { return static_cast<int32_t>(by_tenant_.size()); }

 private:
  QueueLoad total_;
  absl::flat_hash_map<std::string, QueueLoad> by_tenant_;
};

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_QUEUE_LOAD_H_
