// What a serving process does about memory.
#ifndef TIDAL_SERVER_CONFIG_MEMORY_H_
#define TIDAL_SERVER_CONFIG_MEMORY_H_

namespace tidal {

// Call once, when logging is set up and before there are threads.
//
// Where `new` finds no memory, the process ends with one line in the log and the exit code 1. What
// a request may take is bounded, so it is the machine that is too small; and a request that was cut
// short anywhere, on a thread of gRPC's perhaps, would leave locks held and clients without an end.
//
// A buffer of a large request goes back to the system when it is freed. (By default the C library
// keeps all that are as large as the largest ever freed.)
void InitMemory();

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_MEMORY_H_
