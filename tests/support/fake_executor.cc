#include "tests/support/fake_executor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tidal {
namespace {

// The finalizer of SplitMix64.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Hash of a prefix extended by one token; never 0.
uint64_t Extend(uint64_t prefix_hash, TokenId token) {
  return Mix(prefix_hash ^ Mix(static_cast<uint32_t>(token))) | 1;
}

// Those it knows, and its draft.
std::vector<TokenId> AllTokens(const ScheduledSequence& sequence) {
  std::vector<TokenId> tokens(sequence.tokens.begin(), sequence.tokens.end());
  tokens.insert(tokens.end(), sequence.draft.begin(), sequence.draft.end());
  return tokens;
}

absl::Status Broken(const ScheduledSequence& sequence, const std::string& what) {
  return absl::InternalError(absl::StrCat("fake executor: sequence ", sequence.id, ": ", what));
}

}  // namespace

FakeExecutor::FakeExecutor(FakeExecutorOptions options)
    : options_(std::move(options)),
      slots_(static_cast<size_t>(options_.num_blocks) * options_.block_size) {}

absl::StatusOr<StepOutput> FakeExecutor::Run(const StepInput& input) {
  if (options_.on_step) options_.on_step(input);
  if (!status_.ok()) return status_;
  if (num_steps_ == options_.fail_at_step) {
    return status_ = absl::UnavailableError("fake executor: told to fail");
  }
  status_ = CheckShape(input);
  // A layer stores the K and V of all rows before any row attends, so all writes come first here.
  for (const ScheduledSequence& sequence : input.sequences) status_.Update(Write(sequence));
  for (const ScheduledSequence& sequence : input.sequences) status_.Update(CheckCache(sequence));
  if (!status_.ok()) return status_;

  StepOutput output;
  for (const ScheduledSequence& sequence : input.sequences) {
    output.sequences.push_back(SampleRow(sequence));
    const int32_t context = sequence.num_computed_tokens + sequence.num_new_tokens;
    const bool sparse = output.sequences.back().ran_sparse;
    if (sequence.kind != RowKind::kDecode) {
      (sequence.kind == RowKind::kVerify ? output.stats.verify_tokens
                                         : output.stats.prefill_tokens) += sequence.num_new_tokens;
      continue;
    }
    output.stats.decode_rows += 1;
    output.stats.sparse_rows += sparse;
    output.stats.selected_tokens += sparse ? sequence.attention.token_budget : 0;
    output.stats.kv_bytes_read += sparse ? sequence.attention.token_budget : context;
  }
  ++num_steps_;
  return output;
}

TokenId FakeExecutor::NextToken(absl::Span<const TokenId> tokens,
                                const SamplingParams& sampling) const {
  if (options_.next_token) return options_.next_token(tokens);
  uint64_t hash = sampling.temperature > 0 ? Mix(sampling.seed) : 0;
  for (TokenId token : tokens) hash = Extend(hash, token);
  return static_cast<TokenId>(Mix(hash) % static_cast<uint64_t>(options_.vocab_size));
}

std::vector<TokenId> FakeExecutor::ExpectedOutput(std::vector<TokenId> prompt, int32_t count,
                                                  const SamplingParams& sampling) const {
  std::vector<TokenId> tokens = std::move(prompt);
  const size_t prompt_size = tokens.size();
  for (int32_t i = 0; i < count; ++i) tokens.push_back(NextToken(tokens, sampling));
  return {tokens.begin() + prompt_size, tokens.end()};
}

absl::Status FakeExecutor::CheckShape(const StepInput& input) const {
  int64_t tokens = 0;
  for (size_t i = 0; i < input.sequences.size(); ++i) {
    const ScheduledSequence& sequence = input.sequences[i];
    for (size_t j = 0; j < i; ++j) {
      if (input.sequences[j].id == sequence.id) return Broken(sequence, "scheduled twice");
    }
    if (absl::Status status = CheckSequence(sequence); !status.ok()) return status;
    tokens += sequence.num_new_tokens;
  }
  if (input.sequences.size() > static_cast<size_t>(options_.max_num_seqs)) {
    return absl::InternalError(absl::StrCat("fake executor: ", input.sequences.size(),
                                            " sequences, at most ", options_.max_num_seqs));
  }
  if (tokens > options_.max_num_batched_tokens) {
    return absl::InternalError(absl::StrCat("fake executor: ", tokens, " tokens, at most ",
                                            options_.max_num_batched_tokens));
  }
  return absl::OkStatus();
}

absl::Status FakeExecutor::CheckSequence(const ScheduledSequence& sequence) const {
  const int64_t end = int64_t{sequence.num_computed_tokens} + sequence.num_new_tokens;
  const int64_t size = sequence.tokens.size() + sequence.draft.size();
  if (sequence.num_computed_tokens < 0 || sequence.num_new_tokens < 1 || end > size) {
    return Broken(sequence, absl::StrCat("runs tokens [", sequence.num_computed_tokens, ", ", end,
                                         ") of ", size));
  }
  if (sequence.num_prompt_tokens < 1 || sequence.num_prompt_tokens > size) {
    return Broken(sequence, absl::StrCat("num_prompt_tokens ", sequence.num_prompt_tokens, " of ",
                                         size, " tokens"));
  }
  if (sequence.sampling == nullptr) return Broken(sequence, "no sampling parameters");
  // Where none is wanted it replays a token that was decoded before a preemption.
  if (sequence.kind == RowKind::kDecode && sequence.num_new_tokens != 1) {
    return Broken(sequence, "a decode row runs one token");
  }
  const bool verifies = sequence.kind == RowKind::kVerify;
  if (verifies ? sequence.num_new_tokens != 1 + static_cast<int32_t>(sequence.draft.size()) ||
                     sequence.num_new_tokens > kMaxVerifyTokens
               : !sequence.draft.empty()) {
    return Broken(sequence, "a verify row runs the newest token and its draft, others have none");
  }
  if (verifies != (sequence.wanted == Wanted::kAllTokens)) {
    return Broken(sequence, "all tokens are wanted of verify rows and of no others");
  }
  if (sequence.num_wanted() > 0 && end != size) {
    return Broken(sequence, absl::StrCat("needs a token after ", end, " of ", size, " tokens"));
  }
  const int64_t covered = static_cast<int64_t>(sequence.block_table.size()) * options_.block_size;
  if (covered < end) {
    return Broken(sequence, absl::StrCat("block table covers ", covered, " of ", end, " tokens"));
  }
  std::vector<BlockId> blocks(sequence.block_table.begin(), sequence.block_table.end());
  std::sort(blocks.begin(), blocks.end());
  if (blocks.front() < 0 || blocks.back() >= options_.num_blocks) {
    return Broken(sequence, "block id out of range");
  }
  if (std::adjacent_find(blocks.begin(), blocks.end()) != blocks.end()) {
    return Broken(sequence, "a block twice in one block table");
  }
  return absl::OkStatus();
}

int64_t FakeExecutor::SlotOf(const ScheduledSequence& sequence, int32_t position) const {
  return int64_t{sequence.block_table[position / options_.block_size]} * options_.block_size +
         position % options_.block_size;
}

absl::Status FakeExecutor::Write(const ScheduledSequence& sequence) {
  if (!status_.ok()) return absl::OkStatus();  // the shape is wrong: indices cannot be trusted
  const int32_t end = sequence.num_computed_tokens + sequence.num_new_tokens;
  const bool sparse = sequence.wants_sparse();
  uint64_t hash = 0;
  const std::vector<TokenId> tokens = AllTokens(sequence);
  for (int32_t p = 0; p < end; ++p) {
    hash = Extend(hash, tokens[p]);
    if (p < sequence.num_computed_tokens) continue;
    Slot& slot = slots_[SlotOf(sequence, p)];
    if (slot.written_at == num_steps_) {
      return Broken(sequence, absl::StrCat("position ", p, " in block ",
                                           sequence.block_table[p / options_.block_size],
                                           " is also written by sequence ", slot.writer));
    }
    slot = {hash, num_steps_, sequence.id, sparse};
  }
  return absl::OkStatus();
}

absl::Status FakeExecutor::CheckCache(const ScheduledSequence& sequence) const {
  if (!status_.ok()) return absl::OkStatus();
  uint64_t hash = 0;
  for (int32_t p = 0; p < sequence.num_computed_tokens; ++p) {
    hash = Extend(hash, sequence.tokens[p]);
    const Slot& slot = slots_[SlotOf(sequence, p)];
    const BlockId block = sequence.block_table[p / options_.block_size];
    if (slot.prefix_hash == 0) {
      return Broken(sequence, absl::StrCat("position ", p, " in block ", block, " of ",
                                           sequence.num_computed_tokens,
                                           " computed tokens was never written"));
    }
    if (slot.prefix_hash != hash) {
      return Broken(sequence, absl::StrCat("position ", p, " in block ", block,
                                           " holds another prefix, written by sequence ",
                                           slot.writer, " in step ", slot.written_at));
    }
    if (slot.sparse && slot.writer != sequence.id) {
      return Broken(sequence, absl::StrCat("position ", p, " in block ", block,
                                           " was decoded sparsely by sequence ", slot.writer));
    }
  }
  return absl::OkStatus();
}

PromptLogprob FakeExecutor::PromptLogprobOf(TokenId token, int32_t position,
                                            const SamplingParams& sampling) const {
  PromptLogprob out = {-0.25f * static_cast<float>(position), 1, {}};
  for (int32_t i = 0; i < sampling.num_prompt_logprobs; ++i) {
    out.top.push_back({(token + i) % options_.vocab_size, out.logprob - static_cast<float>(i)});
  }
  return out;
}

SequenceOutput FakeExecutor::SampleRow(const ScheduledSequence& sequence) const {
  SequenceOutput output;
  output.ran_sparse = sequence.wants_sparse();
  const std::vector<TokenId> tokens = AllTokens(sequence);
  for (int32_t row = sequence.num_wanted() - 1; row >= 0; --row) {
    SampledToken sampled;
    const auto before = absl::MakeConstSpan(tokens).first(tokens.size() - row);
    sampled.id = NextToken(before, *sequence.sampling);
    sampled.logprob = -0.5f;
    const SamplingParams& sampling = *sequence.sampling;
    for (int32_t i = 0; i < sampling.num_alternatives(options_.vocab_size); ++i) {
      const TokenId other = sampling.logprob_token_ids.empty()
                                ? (sampled.id + i) % options_.vocab_size
                                : sampling.logprob_token_ids[i];
      sampled.top.push_back({other, -0.5f - i});
    }
    output.sampled.push_back(std::move(sampled));
  }
  const auto [first, count] = sequence.prompt_logprobs;
  for (int32_t p = first; p < first + count; ++p) {
    output.prompt_logprobs.push_back(PromptLogprobOf(sequence.tokens[p], p, *sequence.sampling));
  }
  return output;
}

}  // namespace tidal
