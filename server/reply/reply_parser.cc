#include "server/reply/reply_parser.h"

#include <algorithm>
#include <utility>

namespace tidal {
namespace {

std::vector<std::string> Joined(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::vector<std::string> Opens(const ReplyParserOptions& options) {
  return options.calls == nullptr ? std::vector<std::string>() : options.calls->opens;
}

std::vector<std::string> ReasoningMarkersOf(const ReplyParserOptions& options,
                                            std::string ReasoningMarkers::*which) {
  std::vector<std::string> markers;
  if (options.reasoning == nullptr) return markers;
  for (const ReasoningMarkers& pair : options.reasoning->markers) markers.push_back(pair.*which);
  return markers;
}

}  // namespace

ReplyParser::ReplyParser(ReplyParserOptions options)
    : options_(std::move(options)),
      opens_(Opens(options_)),
      reasoning_starts_(ReasoningMarkersOf(options_, &ReasoningMarkers::start)),
      reasoning_ends_(ReasoningMarkersOf(options_, &ReasoningMarkers::end)),
      content_(Joined(opens_, Joined(reasoning_starts_, reasoning_ends_)), options_.special),
      reasoning_(content_),
      writer_(options_.calls == nullptr ? CallIds::kCall24 : options_.calls->ids, options_.random) {
  if (options_.calls != nullptr) {
    call_markers_ = MarkersOf(*options_.calls);
    reader_ = MakeCallReader(options_.calls, options_.types, &options_.special, this);
  }
  if (options_.reasoning != nullptr &&
      (options_.starts_in_reasoning || options_.reasoning->starts_open)) {
    StartReasoning("");
  }
}

void ReplyParser::AppendText(std::string_view text, std::vector<ReplyPiece>* out) {
  writer_.SetOut(out);
  Text(text);
}

void ReplyParser::AppendSpecialToken(std::string_view token, std::vector<ReplyPiece>* out) {
  writer_.SetOut(out);
  if (!token.empty()) Token(token);
}

void ReplyParser::Finish(std::vector<ReplyPiece>* out) {
  writer_.SetOut(out);
  if (phase_ == Phase::kReasoning) {
    writer_.Reasoning(reasoning_.Take());
  } else if (phase_ == Phase::kCalls) {
    const bool punctuation = reader_->Finish();
    if (writer_.in_call()) {
      writer_.EndCall(/*broken_off=*/true);
    } else if (!punctuation) {
      writer_.Content(undecided_);
    }
    undecided_.clear();
  } else {
    writer_.Content(content_.Take());
  }
  writer_.Finish();
  phase_ = Phase::kRest;
}

size_t ReplyParser::held_bytes() const {
  return undecided_.size() + content_.held().size() + reasoning_.held().size() +
         writer_.held_bytes() + (phase_ == Phase::kCalls ? reader_->held_bytes() : 0);
}

void ReplyParser::Text(std::string_view text) {
  for (const char c : text) Byte(c);
}

void ReplyParser::Byte(char c) {
  switch (phase_) {
    case Phase::kContent:
      return ContentByte(c);
    case Phase::kReasoning:
      return ReasoningByte(c);
    case Phase::kCalls:
      return CallByte(c);
    case Phase::kRest:
      return writer_.Content({&c, 1});
  }
}

void ReplyParser::Token(std::string_view token) {
  const std::string text(token);
  switch (phase_) {
    case Phase::kContent:
      // Text that only began a marker, as the token shows.
      FlushContent(/*all=*/true);
      if (phase_ != Phase::kContent || !content_.held().empty()) return Token(token);
      if (CountsInContent(text)) return ContentMarker(text);
      break;
    case Phase::kReasoning:
      writer_.Reasoning(reasoning_.Take());
      if (CountsInReasoning(text)) return ReasoningMarker(text);
      break;
    case Phase::kCalls: {
      if (!IsMarkerOfCalls(text)) break;
      undecided_ += text;
      const ReadResult result = reader_->Token(text);
      if (result.kind == ReadResult::kReject) {
        if (undecided_.ends_with(text)) undecided_.resize(undecided_.size() - text.size());
        Reject(0);
        return Token(token);
      }
      if (result.kind == ReadResult::kEnd) {
        undecided_.clear();
        phase_ = Phase::kContent;
      }
      return;
    }
    case Phase::kRest:
      break;
  }
  if (!options_.keep_special_tokens) return;
  if (phase_ == Phase::kReasoning) return writer_.Reasoning(text);
  if (phase_ == Phase::kCalls) return Text(text);
  writer_.Content(text);
}

bool ReplyParser::IsMarkerOfCalls(std::string_view token) const {
  return HasMarker(call_markers_, token);
}

bool ReplyParser::CountsInContent(std::string_view marker) const {
  // An end of reasoning counts without a beginning: the prompt had both, and the model ends again.
  if (HasMarker(opens_, marker)) return true;
  return writer_.at_head() &&
         (HasMarker(reasoning_starts_, marker) || HasMarker(reasoning_ends_, marker));
}

void ReplyParser::ContentByte(char c) {
  content_.Push(c);
  FlushContent(/*all=*/false);
}

// Gives out what is in no marker; `all`: also what begins one. Where a block of calls without a
// marker begins, its reader gets the rest.
void ReplyParser::FlushContent(bool all) {
  const auto counts = [this](std::string_view marker) { return CountsInContent(marker); };
  for (;;) {
    switch (content_.state(counts)) {
      case MarkerMatcher::kEmpty:
        return;
      case MarkerMatcher::kPartial:
        if (!all) return;
        break;
      case MarkerMatcher::kWhole:
        return ContentMarker(content_.Take());
      case MarkerMatcher::kNone:
        break;
    }
    const char bare = options_.calls == nullptr ? 0 : options_.calls->bare;
    if (bare != 0 && content_.held().front() == bare && writer_.at_head()) {
      const std::string text = content_.Take();
      StartCalls("");
      return Text(text);
    }
    const char c = content_.Pop();
    writer_.Content({&c, 1});
  }
}

void ReplyParser::ContentMarker(const std::string& marker) {
  if (HasMarker(opens_, marker)) return StartCalls(marker);
  if (HasMarker(reasoning_starts_, marker)) return StartReasoning(marker);
  writer_.BeginReasoning();
  writer_.EndReasoning();
}

void ReplyParser::StartReasoning(std::string_view marker) {
  writer_.BeginReasoning();
  phase_ = Phase::kReasoning;
  for (const ReasoningMarkers& pair : options_.reasoning->markers) {
    if (pair.start == marker) reasoning_end_ = pair.end;
  }
}

bool ReplyParser::CountsInReasoning(std::string_view marker) const {
  if (HasMarker(reasoning_ends_, marker)) return reasoning_end_.empty() || marker == reasoning_end_;
  // The prompt opened it, and the model does again.
  if (HasMarker(reasoning_starts_, marker)) return writer_.reasoning_empty();
  return options_.reasoning->ends_at_calls && HasMarker(opens_, marker);
}

void ReplyParser::ReasoningByte(char c) {
  const auto counts = [this](std::string_view marker) { return CountsInReasoning(marker); };
  reasoning_.Push(c);
  for (;;) {
    switch (reasoning_.state(counts)) {
      case MarkerMatcher::kEmpty:
      case MarkerMatcher::kPartial:
        return;
      case MarkerMatcher::kWhole:
        return ReasoningMarker(reasoning_.Take());
      case MarkerMatcher::kNone:
        break;
    }
    const char first = reasoning_.Pop();
    writer_.Reasoning({&first, 1});
  }
}

void ReplyParser::ReasoningMarker(const std::string& marker) {
  if (HasMarker(reasoning_starts_, marker)) return StartReasoning(marker);
  writer_.EndReasoning();
  reasoning_end_.clear();
  phase_ = Phase::kContent;
  if (HasMarker(opens_, marker)) StartCalls(marker);
}

void ReplyParser::StartCalls(std::string_view opening) {
  phase_ = Phase::kCalls;
  undecided_ = opening;
  reader_->Start(opening);
}

void ReplyParser::CallByte(char c) {
  undecided_ += c;
  const ReadResult result = reader_->Byte(c);
  switch (result.kind) {
    case ReadResult::kMore:
      if (undecided_.size() > kMaxHeld) Reject(0);
      break;
    case ReadResult::kEnd:
      undecided_.clear();
      phase_ = Phase::kContent;
      break;
    case ReadResult::kAgain:
      CallByte(c);
      break;
    case ReadResult::kReject:
      // The byte at hand is in no call, even where one got something because of it.
      if (undecided_.empty()) undecided_ = c;
      Reject(result.unread);
      break;
  }
}

void ReplyParser::Reject(size_t unread) {
  if (writer_.in_call()) writer_.EndCall(/*broken_off=*/true);
  phase_ = too_many_calls_ ? Phase::kRest : Phase::kContent;
  const std::string undecided = std::exchange(undecided_, {});
  const std::string_view text = undecided;
  unread = std::min(unread, text.size());
  writer_.Content(text.substr(0, text.size() - unread));
  Text(text.substr(text.size() - unread));
}

bool ReplyParser::BeginCall(std::string_view written) {
  if (!writer_.BeginCall(written)) {
    too_many_calls_ = true;
    return false;
  }
  undecided_.clear();
  return true;
}

void ReplyParser::Arguments(std::string_view json) {
  writer_.Arguments(json);
  undecided_.clear();
}

void ReplyParser::EndCall(bool broken_off) {
  writer_.EndCall(broken_off);
  undecided_.clear();
}

void ReplyParser::CloseArguments(std::string_view json) { writer_.Arguments(json); }

void ReplyParser::SkipBytes() { undecided_.clear(); }

}  // namespace tidal
