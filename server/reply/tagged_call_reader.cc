#include "server/reply/tagged_call_reader.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "server/reply/characters.h"
#include "server/reply/json_text.h"

namespace tidal {
namespace {

std::vector<std::string> With(std::vector<std::string> markers, const std::string& other) {
  markers.push_back(other);
  return markers;
}

std::vector<std::string> EndsOfTaggedName(const CallFormat& format) {
  if (!format.name_end.empty()) return {format.name_end};
  return {format.key_begin, format.call_end};
}

}  // namespace

TaggedCallReader::TaggedCallReader(const CallFormat* format, const ArgumentTypes* types,
                                   const SpecialMarkers* special, CallSink* sink)
    : format_(*format),
      types_(types),
      sink_(sink),
      between_(With(format->closes, format->name_begin), *special),
      name_matcher_(EndsOfTaggedName(*format), *special),
      in_call_(With(With(format->closes, format->key_begin), format->call_end), *special),
      key_matcher_({format->key_end}, *special),
      before_value_({format->value_begin}, *special),
      value_matcher_({format->value_end}, *special) {}

void TaggedCallReader::Start(std::string_view opening) {
  calls_ = 0;
  begun_ = false;
  value_.reset();
  name_.clear();
  const bool name_comes = format_.name_begin.empty() || opening == format_.name_begin;
  Enter(name_comes ? State::kName : State::kBetween);
}

ReadResult TaggedCallReader::Byte(char c) {
  MarkerMatcher& markers = matcher();
  markers.Push(c);
  ReadResult result;
  while (result.kind == ReadResult::kMore && &matcher() == &markers &&
         markers.state() == MarkerMatcher::kNone) {
    const size_t left = markers.held().size() - 1;
    result = Text(markers.Pop());
    if (result.kind == ReadResult::kReject) result.unread += left;
  }
  if (result.kind == ReadResult::kMore && markers.state() == MarkerMatcher::kWhole) {
    result = Marker(markers.Take());
  }
  return Give(result);
}

ReadResult TaggedCallReader::Token(std::string_view marker) {
  if (state_ == State::kValue) {
    for (const char c : matcher().Take()) value_->Feed(c, &json_);
    // A call that ends in the middle of a value breaks off.
    if (marker != format_.value_end) {
      value_->BreakOff(&json_);
      if (!json_.empty()) sink_->Arguments(std::exchange(json_, {}));
      return {ReadResult::kReject, marker.size()};
    }
  } else if (!matcher().held().empty()) {
    return {ReadResult::kReject, marker.size()};
  }
  return Give(Marker(marker));
}

bool TaggedCallReader::Finish() {
  if (state_ == State::kValue) {
    for (const char c : matcher().Take()) value_->Feed(c, &json_);
    value_->BreakOff(&json_);
    if (!json_.empty()) sink_->Arguments(std::exchange(json_, {}));
  }
  return state_ == State::kBetween && calls_ > 0;
}

MarkerMatcher& TaggedCallReader::matcher() {
  switch (state_) {
    case State::kName:
      return name_matcher_;
    case State::kInCall:
      return in_call_;
    case State::kKey:
      return key_matcher_;
    case State::kBeforeValue:
      return before_value_;
    case State::kValue:
      return value_matcher_;
    case State::kBetween:
      break;
  }
  return between_;
}

void TaggedCallReader::Enter(State state) {
  state_ = state;
  matcher().Take();
}

ReadResult TaggedCallReader::Marker(std::string_view marker) {
  const ReadResult reject{ReadResult::kReject, marker.size()};
  switch (state_) {
    case State::kBetween:
      if (marker == format_.name_begin) {
        name_.clear();
        Enter(State::kName);
        return {};
      }
      return calls_ > 0 && HasMarker(format_.closes, marker) ? ReadResult{ReadResult::kEnd}
                                                             : reject;
    case State::kName:
      if (name_.empty()) return reject;
      if (marker == format_.name_end && !format_.name_end.empty()) {
        Enter(State::kInCall);
        return {};
      }
      [[fallthrough]];
    case State::kInCall:
      if (marker == format_.key_begin) {
        key_.clear();
        Enter(State::kKey);
        return {};
      }
      // The block's end does for the call's, too, once there was an argument.
      if (marker == format_.call_end) return EndCall(/*ends_block=*/format_.closes.empty());
      return begun_ && HasMarker(format_.closes, marker) ? EndCall(/*ends_block=*/true) : reject;
    case State::kKey:
      key_ = TrimSpace(key_);
      if (marker != format_.key_end || key_.empty()) return reject;
      if (format_.value_begin.empty()) return BeginValue(marker);
      Enter(State::kBeforeValue);
      return {};
    case State::kBeforeValue:
      return marker == format_.value_begin ? BeginValue(marker) : reject;
    case State::kValue:
      value_->Finish(&json_);
      value_.reset();
      Enter(State::kInCall);
      return {};
  }
  return reject;
}

ReadResult TaggedCallReader::Text(char c) {
  const ReadResult reject{ReadResult::kReject, 1};
  switch (state_) {
    case State::kValue:
      value_->Feed(c, &json_);
      if (json_.empty()) sink_->SkipBytes();
      return {};
    case State::kKey:
      if (c == '<' || c == '\n' || key_.size() >= kMaxName) break;
      key_ += c;
      return {};
    case State::kName:
      if (IsJsonSpace(c)) {
        if (!name_.empty() && format_.name_end.empty()) Enter(State::kInCall);
        return {};
      }
      if (!IsNameByte(c) || name_.size() >= kMaxName) break;
      name_ += c;
      return {};
    default:
      if (IsJsonSpace(c)) return {};
      break;
  }
  return reject;
}

bool TaggedCallReader::BeginCall() {
  begun_ = sink_->BeginCall(name_);
  if (begun_) ++calls_;
  has_arguments_ = false;
  return begun_;
}

ReadResult TaggedCallReader::BeginValue(std::string_view marker) {
  if (!begun_ && !BeginCall()) return {ReadResult::kReject, marker.size()};
  json_ += has_arguments_ ? ", " : "{";
  has_arguments_ = true;
  json_ += JsonString(key_);
  json_ += ": ";
  value_.emplace(types_ == nullptr ? JsonTypes(JsonTypes::kString) : types_->Of(name_, key_));
  Enter(State::kValue);
  return {};
}

ReadResult TaggedCallReader::Give(ReadResult result) {
  if (!json_.empty()) sink_->Arguments(std::exchange(json_, {}));
  // Values reject nothing, so this is between arguments, and the object can be closed.
  if (result.kind == ReadResult::kReject && begun_) {
    sink_->CloseArguments(has_arguments_ ? "}" : "{}");
  }
  return result;
}

ReadResult TaggedCallReader::EndCall(bool ends_block) {
  if (!begun_ && !BeginCall()) return {ReadResult::kReject, format_.call_end.size()};
  sink_->Arguments(has_arguments_ ? "}" : "{}");
  sink_->EndCall(/*broken_off=*/false);
  begun_ = false;
  Enter(State::kBetween);
  return {ends_block ? ReadResult::kEnd : ReadResult::kMore};
}

}  // namespace tidal
