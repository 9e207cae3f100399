#include "tests/scheduler/kv_executor.h"

#include <algorithm>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/scheduler/fake_constraint.h"

namespace tidal {
namespace {

constexpr uint64_t kEmpty = 0x1234567;  // the value before the first token

// The finalizer of SplitMix64.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

uint64_t Extend(uint64_t before, TokenId token, bool sparse) {
  return Mix(before ^ Mix(static_cast<uint32_t>(token) * 2u + sparse)) | 1;
}

TokenId Choose(uint64_t value, const SamplingParams& sampling, int32_t generated,
               int32_t vocab_size) {
  const uint64_t seed = sampling.temperature > 0 ? Mix(sampling.seed) : 0;
  auto token = static_cast<TokenId>(Mix(value ^ seed) % static_cast<uint64_t>(vocab_size));
  const std::vector<TokenId>& banned = sampling.banned_tokens;
  const auto forbidden = [&](TokenId candidate) {
    return generated < sampling.min_tokens &&
           std::find(banned.begin(), banned.end(), candidate) != banned.end();
  };
  while (forbidden(token)) token = (token + 1) % vocab_size;
  return token;
}

// Of the token that follows `value`.
int32_t RankAfter(uint64_t value, TokenId token) {
  return 1 + static_cast<int32_t>(Mix(value ^ Mix(static_cast<uint32_t>(token))) % 1000000);
}

absl::Status Broken(const ScheduledSequence& row, const std::string& what) {
  return absl::InternalError(absl::StrCat("sequence ", row.id, ": ", what));
}

}  // namespace

KvExecutor::KvExecutor(const SchedulerConfig& config, int32_t vocab_size)
    : config_(config),
      vocab_size_(vocab_size),
      slots_(static_cast<size_t>(config.num_blocks) * config.block_size) {}

absl::StatusOr<StepOutput> KvExecutor::Run(const StepInput& input) {
  StepOutput output;
  absl::flat_hash_set<SequenceId> seen;
  int32_t tokens = 0, sampled = 0;
  for (const ScheduledSequence& row : input.sequences) {
    if (!seen.insert(row.id).second) return Broken(row, "scheduled twice");
    if (absl::Status status = CheckRow(row); !status.ok()) return status;
    tokens += row.num_new_tokens;
    sampled += row.num_wanted();
    if (row.new_in_slot) {
      outputs_at_start_[row.id].push_back(row.num_tokens() - row.num_prompt_tokens);
    }
    (row.kind == RowKind::kDecode   ? output.stats.decode_rows
     : row.kind == RowKind::kVerify ? output.stats.verify_tokens
                                    : output.stats.prefill_tokens) += row.num_new_tokens;
  }
  if (tokens > config_.max_num_batched_tokens || seen.size() > config_.max_num_seqs ||
      sampled > std::max(config_.max_sampled_tokens, config_.max_num_seqs)) {
    return absl::InternalError(absl::StrCat("a step of ", tokens, " tokens and ", seen.size(),
                                            " sequences that samples ", sampled));
  }
  output.sequences.resize(input.sequences.size());
  for (size_t i = 0; i < input.sequences.size(); ++i) {
    absl::Status status = RunRow(input.sequences[i], &output.sequences[i]);
    if (!status.ok()) return status;
    output.stats.sparse_rows += output.sequences[i].ran_sparse;
  }
  ++num_steps_;
  return output;
}

absl::Status KvExecutor::CheckRow(const ScheduledSequence& row) const {
  const int32_t end = row.num_computed_tokens + row.num_new_tokens;
  const size_t size = row.tokens.size() + row.draft.size();
  if (row.num_new_tokens < 1 || end > size) return Broken(row, "runs no known token");
  if (row.kind == RowKind::kDecode && row.num_new_tokens != 1)
    return Broken(row, "a decode row of many tokens");
  if ((row.kind == RowKind::kVerify) != !row.draft.empty() ||
      (!row.draft.empty() && row.num_computed_tokens + 1 != row.tokens.size()) ||
      row.draft.size() >= kMaxVerifyTokens) {
    return Broken(row, "a verify row is the newest token and a draft");
  }
  if (size > config_.max_model_len) return Broken(row, "a draft beyond the longest text");
  const Wanted all = row.kind == RowKind::kVerify ? Wanted::kAllTokens : Wanted::kLastToken;
  // Of a prompt nothing may be all that is wanted.
  const bool is_prompt = end == row.num_prompt_tokens && row.wanted == Wanted::kNone;
  if (!is_prompt && row.wanted != (end == size ? all : Wanted::kNone)) {
    return Broken(row, "what is wanted is wrong");
  }
  const auto [first, count] = row.prompt_logprobs;
  if (count > 0 && (row.kind != RowKind::kPrefill || !row.sampling->wants_prompt_logprobs() ||
                    first <= row.num_computed_tokens ||
                    first + count > std::min(end + 1, row.num_prompt_tokens))) {
    return Broken(row, "the prompt tokens that are wanted do not follow what it runs");
  }
  if (row.sampling == nullptr) return Broken(row, "no sampling parameters");
  if (static_cast<int64_t>(row.block_table.size()) * config_.block_size < end) {
    return Broken(row, "the block table is too short");
  }
  return absl::OkStatus();
}

absl::Status KvExecutor::RunRow(const ScheduledSequence& row, SequenceOutput* output) {
  const int32_t end = row.num_computed_tokens + row.num_new_tokens;
  uint64_t value = kEmpty;
  bool bad = faults_.erase(row.id) > 0;
  for (int32_t p = 0; p < row.num_computed_tokens; ++p) {
    const Slot& slot = SlotOf(row, p);
    bad |= slot.bad;
    value = Extend(value, row.tokens[p], slot.sparse);
    if (slot.value != value) return Broken(row, absl::StrCat("position ", p, " is not its own"));
  }
  output->ran_sparse = row.wants_sparse();
  const auto known = static_cast<int32_t>(row.tokens.size());
  const int32_t first_result = end - row.num_wanted();
  for (int32_t p = row.num_computed_tokens; p < end; ++p) {
    value = Extend(value, p < known ? row.tokens[p] : row.draft[p - known], output->ran_sparse);
    Slot& slot = SlotOf(row, p);
    if (slot.written_at == num_steps_) return Broken(row, "writes what another row writes");
    slot = {value, output->ran_sparse, bad, num_steps_};
    const auto [first, count] = row.prompt_logprobs;
    if (p + 1 >= first && p + 1 < first + count) {
      output->prompt_logprobs.push_back({bad ? std::numeric_limits<float>::quiet_NaN() : -1.0f,
                                         RankAfter(value, row.tokens[p + 1]),
                                         {}});
    }
    if (p < first_result) continue;
    const int32_t generated = p + 1 - row.num_prompt_tokens;
    output->sampled.push_back({Choose(value, *row.sampling, generated, vocab_size_),
                               bad ? std::numeric_limits<float>::quiet_NaN() : -1.0f,
                               {}});
  }
  const int32_t accepted = NumAccepted(output->sampled, row.draft);
  for (int32_t p = first_result; p < first_result + accepted; ++p) {
    if (row.kind == RowKind::kVerify) verified_positions_[row.id].insert(p);
    if (row.kind == RowKind::kDecode) verified_positions_[row.id].erase(p);
  }
  return absl::OkStatus();
}

KvExecutor::Slot& KvExecutor::SlotOf(const ScheduledSequence& row, int32_t position) {
  return slots_[static_cast<size_t>(row.block_table[position / config_.block_size]) *
                    config_.block_size +
                position % config_.block_size];
}

std::vector<TokenId> KvExecutor::ExpectedOutput(const Request& request,
                                                const SchedulerConfig& config, int32_t vocab_size,
                                                const std::vector<int32_t>& outputs_at_start,
                                                const absl::flat_hash_set<int32_t>& verified) {
  const StopCriteria& stop = request.stop;
  if (stop.max_tokens == 0) return {};
  const auto* const constraint = dynamic_cast<const FakeConstraint*>(request.constraint.get());
  std::vector<TokenId> tokens = request.prompt;
  std::vector<uint64_t> values;  // of all tokens but the newest
  auto run_densely = [&](size_t from) {
    values.resize(from);
    while (values.size() < tokens.size()) {
      values.push_back(
          Extend(values.empty() ? kEmpty : values.back(), tokens[values.size()], false));
    }
  };
  run_densely(0);
  size_t first_sparse = 0, num_sparse = 0;
  for (;;) {
    const auto num_output = static_cast<int32_t>(tokens.size() - request.prompt.size());
    if (std::count(outputs_at_start.begin(), outputs_at_start.end(), num_output) > 0) {
      run_densely(0);
      num_sparse = 0;
    }
    SamplingParams sampling = request.sampling;
    if (constraint == nullptr) {
      sampling.min_tokens = stop.min_tokens;
      sampling.banned_tokens = stop.stop_token_ids;
    }
    TokenId token = Choose(values.back(), sampling, num_output, vocab_size);
    while (constraint != nullptr && !constraint->Allows(num_output, token)) {
      token = (token + 1) % vocab_size;
    }
    tokens.push_back(token);
    const bool is_stop = std::count(stop.stop_token_ids.begin(), stop.stop_token_ids.end(), token);
    if ((is_stop && num_output >= stop.min_tokens) || num_output + 1 == stop.max_tokens ||
        static_cast<int32_t>(tokens.size()) == config.max_model_len ||
        (constraint != nullptr && constraint->EndsWith(num_output))) {
      return {tokens.begin() + request.prompt.size(), tokens.end()};
    }
    if (config.correction_period > 0 && num_sparse >= config.correction_period) {
      run_densely(first_sparse);
      num_sparse = 0;
      continue;
    }
    const bool sparse = request.attention.RunsSparse(static_cast<int32_t>(tokens.size())) &&
                        !verified.contains(static_cast<int32_t>(values.size()));
    // The first sparse row, and all after it.
    if ((sparse || num_sparse > 0) && num_sparse++ == 0) first_sparse = values.size();
    values.push_back(Extend(values.back(), token, sparse));
  }
}

std::vector<int32_t> KvExecutor::ExpectedPromptRanks(const Request& request) {
  std::vector<int32_t> ranks;
  if (!request.sampling.wants_prompt_logprobs()) return ranks;
  uint64_t value = kEmpty;
  for (size_t i = 0; i + 1 < request.prompt.size(); ++i) {
    value = Extend(value, request.prompt[i], false);
    ranks.push_back(RankAfter(value, request.prompt[i + 1]));
  }
  return ranks;
}

}  // namespace tidal
