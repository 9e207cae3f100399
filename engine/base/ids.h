// The identifiers that cross folders.
#ifndef TIDAL_ENGINE_BASE_IDS_H_
#define TIDAL_ENGINE_BASE_IDS_H_

#include <cstdint>

namespace tidal {

using TokenId = int32_t;
using BlockId = int32_t;
using SequenceId = uint64_t;  // never reused while a process lives

}  // namespace tidal

#endif  // TIDAL_ENGINE_BASE_IDS_H_
