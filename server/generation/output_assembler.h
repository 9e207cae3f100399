// Sampled tokens of one output to what its client sees: text without half code points or stop
// strings, with the tokens behind it.
#ifndef TIDAL_SERVER_GENERATION_OUTPUT_ASSEMBLER_H_
#define TIDAL_SERVER_GENERATION_OUTPUT_ASSEMBLER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/step.h"
#include "proto/tidal/v1/inference.pb.h"
#include "scheduler/request.h"
#include "scheduler/token_stream.h"
#include "server/generation/generation_request.h"
#include "server/generation/reply_parts.h"
#include "server/text/incremental_detokenizer.h"
#include "server/text/stop_matcher.h"
#include "server/text/tokenizer.h"

namespace tidal {

// Not thread-safe. `tokenizer` outlives it.
class OutputAssembler {
 public:
  OutputAssembler(int index, const Tokenizer* tokenizer, const OutputOptions& options,
                  const StopCriteria& stop);

  // The next sampled token. After a stop string tokens are ignored.
  void Append(SampledToken token);

  // No more tokens come; `info` says why. Only kStop and kLength end an output in good order.
  void Finish(const FinishInfo& info);

  // Nothing more comes out: Finish() was called, or a stop string was found (the request behind it
  // may be cancelled then).
  bool ended() const { return reason_ != v1::FINISH_REASON_UNSPECIFIED; }
  bool stopped_by_string() const { return stop_string_.has_value(); }

  // What has become sendable since the last call, in one piece; nothing when there is no text yet.
  // A delta's tokens are those appended since the delta before it.
  std::optional<v1::OutputDelta> TakeDelta();

  // Once ended().
  v1::OutputFinish MakeFinish() const;
  v1::FinishReason reason() const { return reason_; }

  // Tokens up to the stop, end token included.
  int32_t completion_tokens() const { return completion_tokens_; }
  // Those of them that were reasoning.
  int32_t reasoning_tokens() const { return reasoning_tokens_; }

 private:
  bool IsStopToken(TokenId id) const;
  void AddTokenToDelta(const SampledToken& token);  // its id and logprobs, not its text
  // Text of tokens, in which stop strings are looked for.
  void AppendText(std::string_view text);
  // Text in which there are none.
  void Show(std::string_view text);
  void AddToken(const SampledToken& token);

  const int index_;
  const Tokenizer* tokenizer_;
  const bool include_stop_in_output_, logprobs_, return_token_ids_, final_only_;
  const int32_t min_tokens_;
  const std::vector<TokenId> stop_token_ids_;
  IncrementalDetokenizer detokenizer_;
  StopMatcher matcher_;
  std::unique_ptr<ReplyParts> parts_;  // null: all is text

  v1::OutputDelta delta_;
  // A stop token, until what follows says whether it ended the output or came too early to.
  std::optional<SampledToken> held_;
  int32_t completion_tokens_ = 0, reasoning_tokens_ = 0;
  v1::FinishReason reason_ = v1::FINISH_REASON_UNSPECIFIED;
  std::optional<std::string> stop_string_;
  std::optional<TokenId> stop_token_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_GENERATION_OUTPUT_ASSEMBLER_H_
