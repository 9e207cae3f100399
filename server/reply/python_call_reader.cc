#include "server/reply/python_call_reader.h"

#include "server/reply/characters.h"
#include "server/reply/json_text.h"

namespace tidal {
namespace {

bool IsKeyByte(char c) { return IsAsciiAlnum(c) || c == '_'; }
bool BeginsName(char c) { return IsKeyByte(c) && !IsAsciiDigit(c); }
bool IsPythonNameByte(char c) { return IsKeyByte(c) || c == '.' || c == '-'; }

}  // namespace

PythonCallReader::PythonCallReader(const CallFormat* format, const SpecialMarkers* special,
                                   CallSink* sink)
    : format_(*format), sink_(sink), closes_(format->closes, *special) {}

void PythonCallReader::Start(std::string_view /*opening*/) {
  state_ = State::kBeforeList;
  begun_ = no_arguments_ = false;
  calls_ = 0;
  closes_.Take();
}

ReadResult PythonCallReader::Byte(char c) {
  const ReadResult result = Read(c);
  if (!begun_) return result;
  if (result.kind == ReadResult::kMore) {
    if (state_ == State::kValue && json_.empty()) sink_->SkipBytes();  // of a value that began
  } else if (state_ != State::kValue || !json_.empty()) {
    sink_->CloseArguments("}");  // nothing of a value came, nor the key that waits for it
  }
  return result;
}

ReadResult PythonCallReader::Token(std::string_view marker) {
  const ReadResult reject{ReadResult::kReject, marker.size()};
  const bool ends = state_ == State::kAfterList && HasMarker(format_.closes, marker);
  return ends ? ReadResult{ReadResult::kEnd} : reject;
}

bool PythonCallReader::Finish() { return state_ == State::kAfterList; }

ReadResult PythonCallReader::Read(char c) {
  const ReadResult reject{ReadResult::kReject, 1};
  const bool space = IsJsonSpace(c);
  switch (state_) {
    case State::kBeforeList:
      if (space) return {};
      if (c != '[') return reject;
      state_ = State::kBeforeCall;
      return {};
    case State::kBeforeCall:
      if (space) return {};
      if (c == ']' && calls_ > 0) return AfterCall(c);
      if (!BeginsName(c)) return reject;
      name_ = c;
      state_ = State::kName;
      return {};
    case State::kName:
      if (c == '(') {
        has_arguments_ = false;
        state_ = State::kBeforeKey;
        return {};
      }
      if (!IsPythonNameByte(c) || name_.size() >= kMaxName) return reject;
      name_ += c;
      return {};
    case State::kBeforeKey:
      return BeforeKey(c);
    case State::kKey:
    case State::kBeforeEquals:
      return KeyByte(c);
    case State::kValue:
      return ValueByte(c);
    case State::kAfterValue:
      if (space) return {};
      if (c == ',') {
        state_ = State::kBeforeKey;
        return {};
      }
      if (c != ')') return reject;
      state_ = State::kBeforeKey;
      return Read(c);
    case State::kAfterCall:
      return AfterCall(c);
    case State::kAfterList:
      return AfterList(c);
  }
  return reject;
}

ReadResult PythonCallReader::BeforeKey(char c) {
  if (IsJsonSpace(c)) return {};
  if (c == ')') {  // also behind a comma
    no_arguments_ = !begun_;
    if (begun_) {
      sink_->Arguments("}");
      sink_->EndCall(/*broken_off=*/false);
      begun_ = false;
    }
    state_ = State::kAfterCall;
    return {};
  }
  if (!BeginsName(c)) return {ReadResult::kReject, 1};
  key_ = c;
  state_ = State::kKey;
  return {};
}

ReadResult PythonCallReader::KeyByte(char c) {
  if (c == '=') {
    literal_ = {};
    state_ = State::kValue;
    json_ = (has_arguments_ ? ", " : "{") + JsonString(key_) + ": ";
    return {};
  }
  if (IsJsonSpace(c)) {
    state_ = State::kBeforeEquals;
    return {};
  }
  if (state_ == State::kBeforeEquals || !IsKeyByte(c) || key_.size() >= kMaxName) {
    return {ReadResult::kReject, 1};
  }
  key_ += c;
  return {};
}

ReadResult PythonCallReader::ValueByte(char c) {
  const size_t size = json_.size();
  const ScanResult result = literal_.Feed(c, &json_);
  if (result == ScanResult::kBroken) return {ReadResult::kReject, 1};
  if (json_.size() > size) {
    if (!begun_ && !BeginCall()) return {ReadResult::kReject, 1};
    has_arguments_ = true;
    sink_->Arguments(json_);
    json_.clear();
  }
  if (result != ScanResult::kEndBefore) return {};
  state_ = State::kAfterValue;
  return Read(c);
}

ReadResult PythonCallReader::AfterCall(char c) {
  if (IsJsonSpace(c)) return {};
  if (c != ',' && c != ']') return {ReadResult::kReject, 1};
  if (no_arguments_) {
    if (!BeginCall()) return {ReadResult::kReject, 1};
    sink_->Arguments("{}");
    sink_->EndCall(/*broken_off=*/false);
    begun_ = no_arguments_ = false;
  }
  if (c == ',') {
    state_ = State::kBeforeCall;
    return {};
  }
  state_ = State::kAfterList;
  sink_->SkipBytes();
  return {format_.closes.empty() ? ReadResult::kEnd : ReadResult::kMore};
}

ReadResult PythonCallReader::AfterList(char c) {
  closes_.Push(c);
  switch (closes_.state()) {
    case MarkerMatcher::kWhole:
      return {ReadResult::kEnd};
    case MarkerMatcher::kPartial:
      return {};
    default:
      break;
  }
  const size_t held = closes_.Take().size();
  return held == 1 && IsJsonSpace(c) ? ReadResult{} : ReadResult{ReadResult::kReject, held};
}

bool PythonCallReader::BeginCall() {
  begun_ = sink_->BeginCall(name_);
  if (begun_) ++calls_;
  return begun_;
}

}  // namespace tidal
