#include "server/generation/output_assembler.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "engine/base/check.h"
#include "server/generation/logprob_message.h"

namespace tidal {

OutputAssembler::OutputAssembler(int index, const Tokenizer* tokenizer,
                                 const OutputOptions& options, const StopCriteria& stop)
    : index_(index),
      tokenizer_(tokenizer),
      include_stop_in_output_(options.include_stop_in_output),
      logprobs_(options.logprobs),
      return_token_ids_(options.return_token_ids),
      final_only_(options.final_only),
      min_tokens_(stop.min_tokens),
      stop_token_ids_(stop.stop_token_ids),
      // What special tokens mean is for the parser to say, where there is one.
      detokenizer_(tokenizer, options.skip_special_tokens || options.parsing.enabled()),
      matcher_(options.stop_strings, options.include_stop_in_output) {
  delta_.set_text(options.echo);
  if (options.parsing.enabled()) {
    parts_ = std::make_unique<ReplyParts>(options.parsing, !options.skip_special_tokens);
  }
}

void OutputAssembler::Append(SampledToken token) {
  if (ended()) return;
  if (held_.has_value()) {
    AddToken(*held_);
    held_.reset();
    if (ended()) return;
  }
  if (IsStopToken(token.id)) {
    held_ = std::move(token);
  } else {
    AddToken(token);
  }
}

void OutputAssembler::Finish(const FinishInfo& info) {
  if (ended()) return;
  if (info.reason == FinishReason::kStop) stop_token_ = info.stop_token;
  if (held_.has_value()) {
    const bool hidden = info.reason == FinishReason::kStop && !include_stop_in_output_;
    if (hidden) {
      AddTokenToDelta(*held_);
    } else {
      AddToken(*held_);
    }
    held_.reset();
  }
  if (!ended()) AppendText(detokenizer_.Flush());
  if (ended()) {  // the last bytes completed a stop string
    stop_token_.reset();
    return;
  }
  Show(matcher_.Flush());
  if (parts_ != nullptr) parts_->Finish(&delta_);
  if (info.reason == FinishReason::kLength) {
    reason_ = v1::FINISH_REASON_LENGTH;
  } else if (parts_ != nullptr && parts_->has_called()) {
    reason_ = v1::FINISH_REASON_TOOL_CALLS;
  } else {
    reason_ = v1::FINISH_REASON_STOP;
  }
}

std::optional<v1::OutputDelta> OutputAssembler::TakeDelta() {
  const bool says_nothing =
      delta_.text().empty() && delta_.reasoning().empty() && delta_.tool_calls().empty();
  // An echoed prompt waits for what follows it: it would be the first event, or the last delta.
  const bool has_begun = completion_tokens_ > 0;
  if (!ended() && (final_only_ || says_nothing || !has_begun)) return std::nullopt;
  if (says_nothing && delta_.num_tokens() == 0) return std::nullopt;
  delta_.set_index(index_);
  return std::exchange(delta_, v1::OutputDelta());
}

v1::OutputFinish OutputAssembler::MakeFinish() const {
  TIDAL_CHECK(ended());
  v1::OutputFinish finish;
  finish.set_index(index_);
  finish.set_reason(reason_);
  if (stop_string_.has_value()) finish.set_stop_string(*stop_string_);
  if (stop_token_.has_value()) finish.set_stop_token_id(static_cast<uint32_t>(*stop_token_));
  return finish;
}

bool OutputAssembler::IsStopToken(TokenId id) const {
  return std::find(stop_token_ids_.begin(), stop_token_ids_.end(), id) != stop_token_ids_.end();
}

void OutputAssembler::AddTokenToDelta(const SampledToken& token) {
  ++completion_tokens_;
  delta_.set_num_tokens(delta_.num_tokens() + 1);
  if (return_token_ids_) delta_.add_token_ids(static_cast<uint32_t>(token.id));
  if (!logprobs_) return;
  *delta_.add_logprobs() = MakeTokenLogprobs(token, *tokenizer_);
}

void OutputAssembler::AppendText(std::string_view text) {
  if (text.empty()) return;
  // As in vLLM, stop strings count only in text that comes after the first min_tokens tokens.
  if (completion_tokens_ <= min_tokens_) return Show(text);
  StopMatcher::Result result = matcher_.Append(text);
  Show(result.text);
  if (!result.stop.has_value()) return;
  if (parts_ != nullptr) parts_->Finish(&delta_);
  stop_string_ = std::move(result.stop);
  reason_ = v1::FINISH_REASON_STOP;
}

void OutputAssembler::Show(std::string_view text) {
  if (parts_ == nullptr) {
    delta_.mutable_text()->append(text);
  } else if (!text.empty()) {
    parts_->AppendText(text, &delta_);
  }
}

void OutputAssembler::AddToken(const SampledToken& token) {
  AddTokenToDelta(token);
  AppendText(detokenizer_.Append(token.id));
  if (parts_ == nullptr) return;
  if (tokenizer_->IsSpecial(token.id) && !ended()) {
    Show(matcher_.Flush());  // no stop string goes on behind it
    parts_->AppendSpecialToken(tokenizer_->WrittenToken(token.id), &delta_);
  }
  reasoning_tokens_ += parts_->in_reasoning() ? 1 : 0;
}

}  // namespace tidal
