#include "server/reply/named_call_reader.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "server/reply/characters.h"

namespace tidal {
namespace {

constexpr char kFence[] = "```";
constexpr size_t kMaxSkipped = 64;

std::vector<std::string> WithFence(const CallFormat& format, std::vector<std::string> markers) {
  if (format.fenced) markers.emplace_back(kFence);
  return markers;
}

std::vector<std::string> Between(const CallFormat& format) {
  std::vector<std::string> markers = format.closes;
  markers.push_back(format.call_begin);
  markers.push_back(format.call_end);
  return WithFence(format, std::move(markers));
}

std::vector<std::string> EndsOfName(const CallFormat& format) {
  std::vector<std::string> markers = format.name_ends;
  markers.push_back(format.id_begin);
  markers.push_back(format.call_end);
  return markers;
}

}  // namespace

NamedCallReader::NamedCallReader(const CallFormat* format, const SpecialMarkers* special,
                                 CallSink* sink)
    : format_(*format),
      sink_(sink),
      between_(Between(*format), *special),
      type_({format->type_end}, *special),
      name_matcher_(EndsOfName(*format), *special),
      id_(format->name_ends, *special),
      before_object_(WithFence(*format, {format->call_end}), *special) {
  if (format->or_json_array) array_ = std::make_unique<JsonCallReader>(format, special, sink);
}

void NamedCallReader::Start(std::string_view opening) {
  calls_ = 0;
  in_array_ = false;
  Enter(State::kBetween);
  if (opening == format_.call_begin) (void)Marker(opening);
}

ReadResult NamedCallReader::Byte(char c) {
  if (in_array_) return array_->Byte(c);
  if (state_ == State::kArguments) return ArgumentsByte(c);
  if (state_ == State::kFenceInfo) return Text(c);
  MarkerMatcher& markers = matcher();
  markers.Push(c);
  while (markers.state() == MarkerMatcher::kNone) {
    const size_t left = markers.held().size() - 1;
    ReadResult result = Text(markers.Pop());
    if (in_array_) {  // the bracket may have been held for the beginning of a marker
      const std::string rest = markers.Take();
      for (size_t i = 0; i < rest.size() && result.kind == ReadResult::kMore; ++i) {
        result = array_->Byte(rest[i]);
        if (result.kind == ReadResult::kReject) result.unread += rest.size() - i - 1;
      }
      return result;
    }
    if (result.kind == ReadResult::kReject) result.unread += left;
    // What changes the state is one byte that no marker begins with, so nothing is left then.
    if (result.kind != ReadResult::kMore || &matcher() != &markers) return result;
  }
  return markers.state() == MarkerMatcher::kWhole ? Marker(markers.Take()) : ReadResult{};
}

ReadResult NamedCallReader::Token(std::string_view marker) {
  if (in_array_) return array_->Token(marker);
  // Text that only began a marker, as the token shows.
  if (state_ != State::kArguments && !matcher().held().empty()) {
    return {ReadResult::kReject, marker.size()};
  }
  if (state_ == State::kArguments) {
    if (marker != format_.call_end && !HasMarker(format_.closes, marker)) {
      return {ReadResult::kReject, marker.size()};
    }
    sink_->EndCall(/*broken_off=*/true);
    Enter(State::kBetween);
  }
  return Marker(marker);
}

bool NamedCallReader::Finish() {
  if (in_array_) return array_->Finish();
  return state_ == State::kBetween && calls_ > 0;
}

MarkerMatcher& NamedCallReader::matcher() {
  switch (state_) {
    case State::kType:
      return type_;
    case State::kName:
      return name_matcher_;
    case State::kId:
      return id_;
    case State::kBeforeObject:
      return before_object_;
    default:
      return between_;
  }
}

void NamedCallReader::Enter(State state) {
  state_ = state;
  matcher().Take();
  skipped_ = 0;
}

ReadResult NamedCallReader::Marker(std::string_view marker) {
  const ReadResult reject{ReadResult::kReject, marker.size()};
  switch (state_) {
    case State::kBetween:
      if (marker == format_.call_begin) {
        name_.clear();
        name_over_ = false;
        Enter(format_.type_end.empty() ? State::kName : State::kType);
        return {};
      }
      if (calls_ == 0) return reject;
      if (HasMarker(format_.closes, marker)) return {ReadResult::kEnd};
      if (marker != format_.call_end && marker != kFence) return reject;
      sink_->SkipBytes();
      return {};
    case State::kType:
      if (marker != format_.type_end) return reject;
      Enter(State::kName);
      return {};
    case State::kName:
      if (name_.empty() && marker == "\n") return {};
      if (name_.empty()) return reject;
      if (marker == format_.id_begin) {
        Enter(State::kId);
        return {};
      }
      if (HasMarker(format_.name_ends, marker)) {
        Enter(State::kBeforeObject);
        return {};
      }
      break;
    case State::kId:
      if (!HasMarker(format_.name_ends, marker)) return reject;
      Enter(State::kBeforeObject);
      return {};
    case State::kBeforeObject:
      if (marker == kFence) {
        Enter(State::kFenceInfo);
        return {};
      }
      break;
    default:
      break;
  }
  // No arguments at all.
  if (marker != format_.call_end || marker.empty() || !BeginCall()) return reject;
  sink_->Arguments("{}");
  sink_->EndCall(/*broken_off=*/false);
  Enter(State::kBetween);
  return {};
}

ReadResult NamedCallReader::Text(char c) {
  const ReadResult reject{ReadResult::kReject, 1};
  switch (state_) {
    case State::kBetween:
      return IsJsonSpace(c) ? ReadResult{} : reject;
    case State::kType:
    case State::kId:
      return IsNameByte(c) && ++skipped_ <= kMaxSkipped ? ReadResult{} : reject;
    case State::kName:
      return NameByte(c);
    case State::kFenceInfo:
      if (c == '\n') {
        Enter(State::kBeforeObject);
        return {};
      }
      if (c != '{') return IsAsciiAlnum(c) && ++skipped_ <= kMaxSkipped ? ReadResult{} : reject;
      break;
    default:
      if (IsJsonSpace(c)) return {};
      if (c != '{') return reject;
      break;
  }
  if (!BeginCall()) return reject;
  state_ = State::kArguments;
  return ArgumentsByte(c);
}

ReadResult NamedCallReader::NameByte(char c) {
  if (IsJsonSpace(c)) {
    name_over_ = !name_.empty();
    return {};
  }
  if (name_.empty() && array_ != nullptr && calls_ == 0 && c == '[') {
    in_array_ = true;
    array_->Start("[");
    return array_->Byte(c);
  }
  if (c == '{' && format_.object_ends_name && !name_.empty()) {
    if (!BeginCall()) return {ReadResult::kReject, 1};
    state_ = State::kArguments;
    return ArgumentsByte(c);
  }
  if (name_over_ || !IsNameByte(c) || name_.size() >= kMaxName) return {ReadResult::kReject, 1};
  name_ += c;
  return {};
}

ReadResult NamedCallReader::ArgumentsByte(char c) {
  const ScanResult result = scanner_.Feed(c);
  if (result == ScanResult::kBroken) return {ReadResult::kReject, 1};
  sink_->Arguments({&c, 1});
  if (result == ScanResult::kEnd) {
    sink_->EndCall(/*broken_off=*/false);
    Enter(State::kBetween);
  }
  return {};
}

bool NamedCallReader::BeginCall() {
  scanner_ = {};
  if (!sink_->BeginCall(name_)) return false;
  ++calls_;
  return true;
}

}  // namespace tidal
