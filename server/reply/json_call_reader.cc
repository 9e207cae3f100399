#include "server/reply/json_call_reader.h"

#include "server/reply/characters.h"

namespace tidal {

JsonCallReader::JsonCallReader(const CallFormat* format, const SpecialMarkers* special,
                               CallSink* sink)
    : format_(*format),
      sink_(sink),
      array_(format->array || format->or_json_array),
      array_only_(format->array_only || format->or_json_array),
      closes_(format->closes, *special) {}

void JsonCallReader::Start(std::string_view opening) {
  state_ = State::kBeforeItem;
  bare_ = opening.empty();
  in_array_ = false;
  calls_ = 0;
  begun_ = false;
  closes_.Take();
}

ReadResult JsonCallReader::Byte(char c) {
  switch (state_) {
    case State::kBeforeItem:
      return BeforeItem(c);
    case State::kFirstKey:
    case State::kKey:
      return BeforeKey(c);
    case State::kInKey: {
      // A key that is longer than any we know is none of them.
      std::string rest;
      std::string* text = key_.size() < kMaxName ? &key_ : &rest;
      if (decoder_.Feed(c, text) == ScanResult::kEnd) state_ = State::kColon;
      break;
    }
    case State::kColon:
      if (c == ':') {
        const bool known = key_ == "name" || KeyIsArguments() || key_ == "type" || key_ == "id";
        if (bare_ && !begun_ && !known) return Reject(1);
        state_ = State::kValue;
      } else if (!IsJsonSpace(c)) {
        return Reject(1);
      }
      break;
    case State::kValue:
      return BeginValue(c);
    case State::kName:
      return NameByte(c);
    case State::kArguments:
      return ArgumentsByte(c);
    case State::kEncoded:
      return EncodedByte(c);
    case State::kOther: {
      const ScanResult result = scanner_.Feed(c);
      if (result == ScanResult::kBroken) return Reject(1);
      if (result != ScanResult::kMore) state_ = State::kAfterValue;
      if (result == ScanResult::kEndBefore) return AfterValue(c);
      break;
    }
    case State::kAfterValue:
      return AfterValue(c);
    case State::kAfterItem:
    case State::kAfterArray:
      return AfterItem(c);
  }
  if (begun_) sink_->SkipBytes();
  return {};
}

ReadResult JsonCallReader::Token(std::string_view marker) {
  if (calls_ == 0 || !HasMarker(format_.closes, marker)) return Reject(marker.size());
  // It ends what is open, too: better a call that breaks off than markers in arguments.
  if (begun_) EndCall(/*broken_off=*/!has_arguments_);
  if (state_ == State::kAfterItem || state_ == State::kAfterArray) return {ReadResult::kEnd};
  return Reject(marker.size());
}

bool JsonCallReader::Finish() {
  if (begun_ && has_arguments_) EndCall(/*broken_off=*/false);  // only braces are missing
  const bool between =
      state_ == State::kBeforeItem || state_ == State::kAfterItem || state_ == State::kAfterArray;
  return between && calls_ > 0;
}

ReadResult JsonCallReader::BeforeItem(char c) {
  if (IsJsonSpace(c)) return {};
  if (c == '[' && array_ && !in_array_ && calls_ == 0) {
    in_array_ = true;
    return {};
  }
  if (c != '{' || (array_only_ && !in_array_)) return Reject(1);
  OpenItem();
  return {};
}

void JsonCallReader::OpenItem() {
  state_ = State::kFirstKey;
  name_.clear();
  held_arguments_.clear();
  has_arguments_ = false;
}

ReadResult JsonCallReader::BeforeKey(char c) {
  if (c == '"') {
    key_.clear();
    decoder_ = {};
    state_ = State::kInKey;
  } else if (c == '}') {
    return EndItem();
  } else if (!IsJsonSpace(c)) {
    return Reject(1);
  }
  if (begun_) sink_->SkipBytes();
  return {};
}

ReadResult JsonCallReader::BeginValue(char c) {
  if (IsJsonSpace(c)) return {};
  scanner_ = {};
  decoder_ = {};
  if (key_ == "name" && !begun_) {
    if (c != '"') return Reject(1);
    name_.clear();
    state_ = State::kName;
    return {};
  }
  if (KeyIsArguments() && !has_arguments_ && c != 'n') {  // null is as good as none
    if (c == '"') {
      decoded_.clear();
      scan_ended_ = false;
      state_ = State::kEncoded;
      return {};
    }
    if (c != '{') return Reject(1);
    state_ = State::kArguments;
    return ArgumentsByte(c);
  }
  state_ = State::kOther;
  return Byte(c);
}

ReadResult JsonCallReader::NameByte(char c) {
  if (decoder_.Feed(c, &name_) == ScanResult::kMore) {
    return name_.size() > kMaxName ? Reject(1) : ReadResult{};
  }
  if (name_.empty()) return Reject(1);
  if (has_arguments_) {
    if (!BeginCall()) return Reject(1);
    sink_->Arguments(held_arguments_);
    held_arguments_.clear();
    held_arguments_.shrink_to_fit();
  }
  state_ = State::kAfterValue;
  return {};
}

bool JsonCallReader::Scan(char c, ScanResult* result) {
  *result = scanner_.Feed(c);
  if (*result == ScanResult::kBroken) return true;
  if (!name_.empty()) {
    if (!begun_ && !BeginCall()) return false;
    sink_->Arguments({&c, 1});
  } else {
    held_arguments_ += c;
  }
  if (*result == ScanResult::kEnd) has_arguments_ = true;
  return true;
}

ReadResult JsonCallReader::ArgumentsByte(char c) {
  ScanResult result;
  if (!Scan(c, &result) || result == ScanResult::kBroken) return Reject(1);
  if (result == ScanResult::kEnd) state_ = State::kAfterValue;
  return {};
}

ReadResult JsonCallReader::EncodedByte(char c) {
  decoded_.clear();
  const bool ended = decoder_.Feed(c, &decoded_) == ScanResult::kEnd;
  for (const char d : decoded_) {
    if (IsJsonSpace(d) && (scan_ended_ || scanner_.first() == 0)) continue;
    if (scanner_.first() == 0 && d != '{') return Reject(1);
    ScanResult result;
    if (scan_ended_ || !Scan(d, &result) || result == ScanResult::kBroken) return Reject(1);
    scan_ended_ = result == ScanResult::kEnd;
  }
  if (ended) {
    if (!scan_ended_ && scanner_.first() != 0) return Reject(1);
    state_ = State::kAfterValue;
  }
  if (begun_) sink_->SkipBytes();
  return {};
}

ReadResult JsonCallReader::AfterValue(char c) {
  if (c == '}') return EndItem();
  if (c == ',') {
    state_ = State::kKey;
  } else if (!IsJsonSpace(c)) {
    // The arguments are all there, and only the brace behind them is missing.
    if (!begun_ || !has_arguments_) return Reject(1);
    EndCall(/*broken_off=*/false);
    return {ReadResult::kAgain};
  }
  if (begun_) sink_->SkipBytes();
  return {};
}

bool JsonCallReader::BeginCall() {
  begun_ = sink_->BeginCall(name_);
  if (begun_) ++calls_;
  return begun_;
}

void JsonCallReader::EndCall(bool broken_off) {
  sink_->EndCall(broken_off);
  begun_ = false;
  state_ = State::kAfterItem;
}

ReadResult JsonCallReader::EndItem() {
  if (name_.empty() || (bare_ && !has_arguments_)) return Reject(1);
  if (!begun_ && !BeginCall()) return Reject(1);
  if (!has_arguments_) sink_->Arguments("{}");
  EndCall(/*broken_off=*/false);
  return {};
}

ReadResult JsonCallReader::AfterItem(char c) {
  closes_.Push(c);
  switch (closes_.state()) {
    case MarkerMatcher::kWhole:
      closes_.Take();
      return {ReadResult::kEnd};
    case MarkerMatcher::kPartial:
      return {};
    default:
      break;
  }
  const size_t held = closes_.Take().size();
  if (held > 1) return Reject(held);
  if (IsJsonSpace(c)) return {};
  if (state_ == State::kAfterArray) return Reject(1);
  if (in_array_) {
    if (c == ']') {
      in_array_ = false;
      state_ = State::kAfterArray;
      sink_->SkipBytes();
      return {format_.closes.empty() ? ReadResult::kEnd : ReadResult::kMore};
    }
    if (c != ',') return Reject(1);
    state_ = State::kBeforeItem;
    return {};
  }
  if (c == '{') {
    OpenItem();
    return {};
  }
  if (c != ',' && c != ';') return Reject(1);
  state_ = State::kBeforeItem;
  return {};
}

}  // namespace tidal
