// Calls as a name between markers, and an object behind it: DeepSeek's, Kimi's, Mistral's.
#ifndef TIDAL_SERVER_REPLY_NAMED_CALL_READER_H_
#define TIDAL_SERVER_REPLY_NAMED_CALL_READER_H_

#include <memory>
#include <string>
#include <string_view>

#include "server/reply/call_reader.h"
#include "server/reply/json_call_reader.h"
#include "server/reply/json_scanner.h"

namespace tidal {

// A call begins at the first byte of its arguments, or at its end where it has none; what comes
// before is held. Arguments go on byte by byte, and the call ends with their last brace.
class NamedCallReader : public CallReader {
 public:
  NamedCallReader(const CallFormat* format, const SpecialMarkers* special, CallSink* sink);

  void Start(std::string_view opening) override;
  ReadResult Byte(char c) override;
  ReadResult Token(std::string_view marker) override;
  bool Finish() override;
  size_t held_bytes() const override { return array_ ? array_->held_bytes() : 0; }

 private:
  enum class State {
    kBetween,  // calls
    kType,
    kName,
    kId,
    kBeforeObject,
    kFenceInfo,  // behind the three backticks
    kArguments,
  };

  ReadResult Marker(std::string_view marker);
  ReadResult Text(char c);  // that is in no marker
  ReadResult NameByte(char c);
  ReadResult ArgumentsByte(char c);
  MarkerMatcher& matcher();
  bool BeginCall();
  void Enter(State state);

  const CallFormat& format_;
  CallSink* const sink_;
  MarkerMatcher between_, type_, name_matcher_, id_, before_object_;
  std::unique_ptr<JsonCallReader> array_;  // where the format allows one
  bool in_array_ = false;

  State state_ = State::kBetween;
  int calls_ = 0;
  std::string name_;
  bool name_over_ = false;  // only space may follow it
  size_t skipped_ = 0;      // bytes of a type, id or info string
  JsonScanner scanner_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_REPLY_NAMED_CALL_READER_H_
