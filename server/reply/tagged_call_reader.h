// Calls whose arguments are raw text between tags: Qwen3-Coder's, GLM's.
#ifndef TIDAL_SERVER_REPLY_TAGGED_CALL_READER_H_
#define TIDAL_SERVER_REPLY_TAGGED_CALL_READER_H_

#include <optional>
#include <string>
#include <string_view>

#include "server/reply/call_reader.h"
#include "server/reply/raw_value.h"

namespace tidal {

// A call begins when its first key is known, or with its end. Its arguments become an object of
// JSON: a key when it is complete, a value as raw_value.h says. Only its own end tag ends a value,
// which may hold any other text, tags included.
class TaggedCallReader : public CallReader {
 public:
  TaggedCallReader(const CallFormat* format, const ArgumentTypes* types,
                   const SpecialMarkers* special, CallSink* sink);

  void Start(std::string_view opening) override;
  ReadResult Byte(char c) override;
  ReadResult Token(std::string_view marker) override;
  bool Finish() override;
  size_t held_bytes() const override { return value_ ? value_->held_bytes() : 0; }

 private:
  enum class State { kBetween, kName, kInCall, kKey, kBeforeValue, kValue };

  ReadResult Marker(std::string_view marker);
  ReadResult Text(char c);  // that is in no marker
  MarkerMatcher& matcher();
  void Enter(State state);
  bool BeginCall();
  ReadResult Give(ReadResult result);
  ReadResult BeginValue(std::string_view marker);
  ReadResult EndCall(bool ends_block);

  const CallFormat& format_;
  const ArgumentTypes* const types_;
  CallSink* const sink_;
  MarkerMatcher between_, name_matcher_, in_call_, key_matcher_, before_value_, value_matcher_;

  State state_ = State::kBetween;
  int calls_ = 0;
  bool begun_ = false, has_arguments_ = false;
  std::string name_, key_, json_;
  std::optional<RawValue> value_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_REPLY_TAGGED_CALL_READER_H_
