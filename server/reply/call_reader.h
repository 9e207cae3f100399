// Reads a block of calls in one of the syntaxes, byte by byte.
#ifndef TIDAL_SERVER_REPLY_CALL_READER_H_
#define TIDAL_SERVER_REPLY_CALL_READER_H_

#include <cstddef>
#include <memory>
#include <string_view>

#include "server/reply/argument_types.h"
#include "server/reply/marker_matcher.h"
#include "server/reply/reply_format.h"

namespace tidal {

// Takes the calls that a reader finds. Each of these says, too, that all bytes so far belong to
// calls: what follows alone can still turn out to be content.
class CallSink {
 public:
  virtual ~CallSink() = default;

  // `written`: the name, or what stands for it and holds an id. False: this is one call too many.
  virtual bool BeginCall(std::string_view written) = 0;
  virtual void Arguments(std::string_view json) = 0;
  virtual void EndCall(bool broken_off) = 0;
  // Arguments once more, from a reader that is about to reject what it holds: only this says
  // nothing of the bytes so far.
  virtual void CloseArguments(std::string_view json) = 0;
  virtual void SkipBytes() = 0;  // of a call, or behind one, that give nothing
};

struct ReadResult {
  enum Kind {
    kMore,
    kEnd,     // the block ended with this byte
    kAgain,   // a call ended before this byte, which is to come again
    kReject,  // this is none: what is not in calls is content, and the last `unread` bytes are to
              // be looked at as such (others can hold no marker)
  };
  Kind kind = kMore;
  size_t unread = 0;
};

// Not thread-safe.
class CallReader {
 public:
  virtual ~CallReader() = default;

  // The marker that began the block; empty for a block that has none, whose first byte comes next.
  virtual void Start(std::string_view opening) = 0;
  virtual ReadResult Byte(char c) = 0;
  // A special token that is one of the format's markers.
  virtual ReadResult Token(std::string_view marker) = 0;
  // No more text: an open call gets what is held of it. Whether what came behind the last call is
  // no more than its family's punctuation, which is no content.
  virtual bool Finish() = 0;
  // Of open calls; the sink holds what is in none.
  virtual size_t held_bytes() const = 0;
};

// All outlive it.
std::unique_ptr<CallReader> MakeCallReader(const CallFormat* format, const ArgumentTypes* types,
                                           const SpecialMarkers* special, CallSink* sink);

}  // namespace tidal

#endif  // TIDAL_SERVER_REPLY_CALL_READER_H_
