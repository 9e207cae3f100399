#include "scheduler/fair_order.h"

#include <algorithm>

#include "engine/base/check.h"

namespace tidal {

FairOrder::Level& FairOrder::LevelOf(int32_t priority) {
  const auto [it, is_new] = levels_.try_emplace(priority);
  // Turns never begin again: some may still be held by requests that were served.
  if (is_new) it->second.served = served_;
  return it->second;
}

int64_t FairOrder::Enter(int32_t priority, absl::string_view tenant_name, int64_t tokens) {
  Level& level = LevelOf(priority);
  Tenant& tenant = level.tenants[tenant_name];
  ++level.num_waiting;
  ++tenant.num_waiting;
  const int64_t turn = std::max(tenant.next_turn, level.served);
  tenant.next_turn = turn + tokens;
  return turn;
}

void FairOrder::Return(int32_t priority, absl::string_view tenant, int64_t turn) {
  Level& level = LevelOf(priority);
  TIDAL_CHECK(turn <= level.served);
  ++level.num_waiting;
  ++level.tenants[tenant].num_waiting;
}

void FairOrder::Serve(int32_t priority, absl::string_view tenant, int64_t turn) {
  Level& level = levels_.at(priority);
  level.served = std::max(level.served, turn);
  served_ = std::max(served_, level.served);
  --level.tenants.at(tenant).num_waiting;
  if (--level.num_waiting == 0) levels_.erase(priority);
}

void FairOrder::Leave(int32_t priority, absl::string_view tenant) {
  Level& level = levels_.at(priority);
  // Who withdraws everything owes nothing.
  const auto it = level.tenants.find(tenant);
  if (--it->second.num_waiting == 0) level.tenants.erase(it);
  if (--level.num_waiting == 0) levels_.erase(priority);
}

}  // namespace tidal
