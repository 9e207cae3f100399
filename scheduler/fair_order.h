// The order in which tenants take turns: start-time fair queueing (Goyal, Vin and Cheng, 1996),
// within each priority by itself.
//
// Every waiting request gets a turn, a number, when it arrives, and the lowest is served first. A
// tenant's next turn lies its last request's tokens behind that one's, but never before the turn
// served last. So tenants with much waiting are served in equal parts, counted in tokens, one who
// comes seldom is served at once, and the requests of one tenant keep their order of arrival.
#ifndef TIDAL_SCHEDULER_FAIR_ORDER_H_
#define TIDAL_SCHEDULER_FAIR_ORDER_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace tidal {

// Not thread-safe. Each call is a few look-ups. Remembers the tenants of a priority as long as
// something of that priority waits.
class FairOrder {
 public:
  // A request has come; its turn.
  int64_t Enter(int32_t priority, absl::string_view tenant, int64_t tokens);
  // One that was served before waits again, for its old turn.
  void Return(int32_t priority, absl::string_view tenant, int64_t turn);
  // A waiting request is served.
  void Serve(int32_t priority, absl::string_view tenant, int64_t turn);
  // A waiting request has gone without being served.
  void Leave(int32_t priority, absl::string_view tenant);

 private:
  struct Tenant {
    int64_t next_turn = 0;
    int32_t num_waiting = 0;
  };
  struct Level {
    int64_t served = 0;  // the highest turn that was
    int32_t num_waiting = 0;
    absl::flat_hash_map<std::string, Tenant> tenants;
  };

  Level& LevelOf(int32_t priority);

  std::map<int32_t, Level> levels_;  // by priority; only those where something waits
  int64_t served_ = 0;               // the highest turn that any level served
};

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_FAIR_ORDER_H_
