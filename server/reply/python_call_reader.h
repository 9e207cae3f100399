// Calls as Python writes them: [f(a=1), g()]. Llama's.
#ifndef TIDAL_SERVER_REPLY_PYTHON_CALL_READER_H_
#define TIDAL_SERVER_REPLY_PYTHON_CALL_READER_H_

#include <string>
#include <string_view>

#include "server/reply/call_reader.h"
#include "server/reply/python_literal.h"

namespace tidal {

// A call begins when its first argument gives anything, so the name, the key and a number or word
// are held until then; one without arguments begins at the comma or bracket behind it. Arguments
// become an object of JSON, values as python_literal.h says.
class PythonCallReader : public CallReader {
 public:
  PythonCallReader(const CallFormat* format, const SpecialMarkers* special, CallSink* sink);

  void Start(std::string_view opening) override;
  ReadResult Byte(char c) override;
  ReadResult Token(std::string_view marker) override;
  bool Finish() override;
  size_t held_bytes() const override { return name_.size() + key_.size(); }

 private:
  enum class State {
    kBeforeList,
    kBeforeCall,
    kName,
    kBeforeKey,
    kKey,
    kBeforeEquals,
    kValue,
    kAfterValue,
    kAfterCall,
    kAfterList,
  };

  ReadResult Read(char c);
  ReadResult BeforeKey(char c);
  ReadResult KeyByte(char c);
  ReadResult ValueByte(char c);
  ReadResult AfterCall(char c);
  ReadResult AfterList(char c);
  bool BeginCall();

  const CallFormat& format_;
  CallSink* const sink_;
  MarkerMatcher closes_;

  State state_ = State::kBeforeList;
  bool begun_ = false;
  int calls_ = 0;
  std::string name_, key_, json_;
  bool has_arguments_ = false;
  bool no_arguments_ = false;  // f() came, and nothing behind it yet
  PythonLiteral literal_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_REPLY_PYTHON_CALL_READER_H_
