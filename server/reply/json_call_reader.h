// Calls as JSON objects: {"name": ..., "arguments": {...}}, one after another or in an array.
#ifndef TIDAL_SERVER_REPLY_JSON_CALL_READER_H_
#define TIDAL_SERVER_REPLY_JSON_CALL_READER_H_

#include <string>
#include <string_view>

#include "server/reply/call_reader.h"
#include "server/reply/json_scanner.h"
#include "server/reply/json_text.h"

namespace tidal {

// A call begins when its name and the first byte of its arguments are known, so both, and what lies
// between them, are held until then. Arguments that come before the name wait for it; others go on
// byte by byte, as the model wrote them. "parameters" is as good as "arguments"; other keys count
// for nothing, but end a block that no marker began, as does a call there without arguments.
class JsonCallReader : public CallReader {
 public:
  JsonCallReader(const CallFormat* format, const SpecialMarkers* special, CallSink* sink);

  void Start(std::string_view opening) override;
  ReadResult Byte(char c) override;
  ReadResult Token(std::string_view marker) override;
  bool Finish() override;
  size_t held_bytes() const override { return held_arguments_.size(); }

 private:
  enum class State {
    kBeforeItem,
    kFirstKey,
    kKey,
    kInKey,
    kColon,
    kValue,
    kName,
    kArguments,
    kEncoded,  // arguments in a string
    kOther,
    kAfterValue,
    kAfterItem,
    kAfterArray,
  };

  ReadResult BeforeItem(char c);
  ReadResult BeforeKey(char c);
  ReadResult BeginValue(char c);
  ReadResult NameByte(char c);
  ReadResult ArgumentsByte(char c);
  ReadResult EncodedByte(char c);
  ReadResult AfterValue(char c);
  ReadResult AfterItem(char c);
  ReadResult Reject(size_t unread) const { return {ReadResult::kReject, unread}; }

  void OpenItem();
  bool BeginCall();
  void EndCall(bool broken_off);
  ReadResult EndItem();
  bool KeyIsArguments() const { return key_ == "arguments" || key_ == "parameters"; }
  bool Scan(char c, ScanResult* result);  // a byte of the arguments; false: one call too many

  const CallFormat& format_;
  CallSink* const sink_;
  const bool array_, array_only_;
  MarkerMatcher closes_;

  State state_ = State::kBeforeItem;
  bool bare_ = false, in_array_ = false;
  int calls_ = 0;
  // Of the item at hand.
  std::string key_, name_, held_arguments_, decoded_;
  bool begun_ = false, has_arguments_ = false, scan_ended_ = false;
  JsonScanner scanner_;
  JsonStringDecoder decoder_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_REPLY_JSON_CALL_READER_H_
