#include "engine/parallel/step_codec.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"

namespace tidal {
namespace {

// What is sent of every sequence in every step. Arrays follow it: new tokens, new blocks, the
// draft, and of a sequence that is new in its slot its sampling.
struct SequenceHead {
  SequenceId id;
  int32_t slot;
  uint8_t new_in_slot, kind, wanted, mode, masked;
  int32_t num_prompt_tokens, num_computed_tokens, num_new_tokens, num_pending_tokens;
  int32_t token_budget, dense_below;
  int32_t first_token, num_tokens;  // sent: those from the first one on
  int32_t first_block, num_blocks;
  int32_t draft_tokens;
  PromptSpan prompt_logprobs;
};

struct SamplingHead {
  float temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
  int32_t top_k, num_logprobs, num_prompt_logprobs, min_tokens;
  int32_t num_biases, num_banned, num_logprob_ids;
  uint64_t seed;
};

struct WireBias {
  TokenId token;
  float bias;
};

// What comes before the masks of a step: each sequence's mask, then the words of all masks.
struct MasksHead {
  uint32_t num_sequences, num_words;
};

template <typename T>
void Append(const T* values, size_t count, std::vector<char>* out) {
  static_assert(std::is_trivially_copyable_v<T>);
  const char* const bytes = reinterpret_cast<const char*>(values);
  out->insert(out->end(), bytes, bytes + count * sizeof(T));
}

template <typename T>
void Append(absl::Span<const T> values, std::vector<char>* out) {
  Append(values.data(), values.size(), out);
}

void AppendSampling(const SamplingParams& sampling, std::vector<char>* out) {
  SamplingHead head = {};
  head.temperature = sampling.temperature;
  head.top_p = sampling.top_p;
  head.min_p = sampling.min_p;
  head.repetition_penalty = sampling.repetition_penalty;
  head.presence_penalty = sampling.presence_penalty;
  head.frequency_penalty = sampling.frequency_penalty;
  head.top_k = sampling.top_k;
  head.num_logprobs = sampling.num_logprobs;
  head.num_prompt_logprobs = sampling.num_prompt_logprobs;
  head.min_tokens = sampling.min_tokens;
  head.num_biases = static_cast<int32_t>(sampling.logit_bias.size());
  head.num_banned = static_cast<int32_t>(sampling.banned_tokens.size());
  head.num_logprob_ids = static_cast<int32_t>(sampling.logprob_token_ids.size());
  head.seed = sampling.seed;
  Append(&head, 1, out);
  for (const auto& [token, bias] : sampling.logit_bias) {
    const WireBias wire = {token, bias};
    Append(&wire, 1, out);
  }
  Append(absl::MakeConstSpan(sampling.banned_tokens), out);
  Append(absl::MakeConstSpan(sampling.logprob_token_ids), out);
}

}  // namespace

void StepEncoder::Encode(const StepInput& input, std::vector<char>* out) {
  const auto count = static_cast<uint32_t>(input.sequences.size());
  Append(&count, 1, out);
  for (const ScheduledSequence& sequence : input.sequences) EncodeSequence(sequence, out);
}

void StepEncoder::EncodeSequence(const ScheduledSequence& sequence, std::vector<char>* out) {
  TIDAL_CHECK(sequence.slot >= 0 && static_cast<size_t>(sequence.slot) < sent_tokens_.size());
  int32_t& sent = sent_tokens_[sequence.slot];
  if (sequence.new_in_slot) sent = 0;
  sent = std::min(sent, static_cast<int32_t>(sequence.tokens.size()));
  const auto tokens = sequence.tokens.subspan(sent);
  const auto blocks = sequence.block_table.subspan(sequence.num_sent_blocks);
  SequenceHead head = {};
  head.id = sequence.id;
  head.slot = sequence.slot;
  head.new_in_slot = sequence.new_in_slot ? 1 : 0;
  head.kind = static_cast<uint8_t>(sequence.kind);
  head.wanted = static_cast<uint8_t>(sequence.wanted);
  head.mode = static_cast<uint8_t>(sequence.attention.mode);
  head.masked = sequence.masked ? 1 : 0;
  head.num_prompt_tokens = sequence.num_prompt_tokens;
  head.num_computed_tokens = sequence.num_computed_tokens;
  head.num_new_tokens = sequence.num_new_tokens;
  head.num_pending_tokens = sequence.num_pending_tokens;
  head.token_budget = sequence.attention.token_budget;
  head.dense_below = sequence.attention.dense_below;
  head.first_token = sent;
  head.num_tokens = static_cast<int32_t>(tokens.size());
  head.first_block = sequence.num_sent_blocks;
  head.num_blocks = static_cast<int32_t>(blocks.size());
  head.draft_tokens = static_cast<int32_t>(sequence.draft.size());
  head.prompt_logprobs = sequence.prompt_logprobs;
  Append(&head, 1, out);
  Append(tokens, out);
  Append(blocks, out);
  Append(sequence.draft, out);
  if (sequence.new_in_slot) AppendSampling(*sequence.sampling, out);
  sent = static_cast<int32_t>(sequence.tokens.size());
}

// Takes values off the front.
class StepDecoder::Reader {
 public:
  explicit Reader(absl::Span<const char> bytes) : bytes_(bytes) {}

  template <typename T>
  absl::Status Take(T* value) {
    return TakeInto(value, 1);
  }

  // values[first ...] becomes `count` values; what was there from `first` on is dropped. At most
  // `most` are there then.
  template <typename T>
  absl::Status TakeTail(int64_t first, int64_t count, int64_t most, std::vector<T>* values) {
    if (first < 0 || count < 0 || first > static_cast<int64_t>(values->size()) ||
        count > most - first || count > static_cast<int64_t>(bytes_.size() / sizeof(T))) {
      return Bad(absl::StrCat(first, " and ", count, " values of at most ", most));
    }
    values->resize(first + count);
    return TakeInto(values->data() + first, count);
  }

  bool empty() const { return bytes_.empty(); }

  static absl::Status Bad(absl::string_view what) {
    return absl::DataLossError(absl::StrCat("step of rank 0: ", what));
  }

 private:
  template <typename T>
  absl::Status TakeInto(T* values, size_t count) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (bytes_.size() < count * sizeof(T)) return Bad("it ends too early");
    if (count > 0) std::memcpy(values, bytes_.data(), count * sizeof(T));
    bytes_.remove_prefix(count * sizeof(T));
    return absl::OkStatus();
  }

  absl::Span<const char> bytes_;
};

absl::StatusOr<StepInput> StepDecoder::Decode(absl::Span<const char> bytes) {
  Reader reader(bytes);
  uint32_t count = 0;
  TIDAL_RETURN_IF_ERROR(reader.Take(&count));
  if (count > sequences_.size()) return Reader::Bad("more sequences than slots");
  StepInput input;
  input.sequences.resize(count);
  for (ScheduledSequence& sequence : input.sequences) {
    TIDAL_RETURN_IF_ERROR(DecodeSequence(reader, &sequence));
  }
  if (!reader.empty()) return Reader::Bad("it has bytes to spare");
  return input;
}

absl::Status StepDecoder::DecodeSequence(Reader& reader, ScheduledSequence* sequence) {
  SequenceHead head;
  TIDAL_RETURN_IF_ERROR(reader.Take(&head));
  if (head.slot < 0 || head.slot >= limits_.num_slots) return Reader::Bad("there is no such slot");
  if (head.kind > static_cast<uint8_t>(RowKind::kVerify) ||
      head.wanted > static_cast<uint8_t>(Wanted::kAllTokens) ||
      head.mode > static_cast<uint8_t>(AttentionMode::kTidal)) {
    return Reader::Bad("there is no such kind of row");
  }
  Known& known = sequences_[head.slot];
  TIDAL_RETURN_IF_ERROR(
      reader.TakeTail(head.first_token, head.num_tokens, limits_.max_tokens, &known.tokens));
  TIDAL_RETURN_IF_ERROR(
      reader.TakeTail(head.first_block, head.num_blocks, limits_.max_blocks, &known.blocks));
  TIDAL_RETURN_IF_ERROR(reader.TakeTail(0, head.draft_tokens, kMaxVerifyTokens, &known.draft));
  if (head.new_in_slot != 0) TIDAL_RETURN_IF_ERROR(DecodeSampling(reader, &known.sampling));
  *sequence = {
      .id = head.id,
      .slot = head.slot,
      .new_in_slot = head.new_in_slot != 0,
      .kind = static_cast<RowKind>(head.kind),
      .wanted = static_cast<Wanted>(head.wanted),
      .tokens = known.tokens,
      .num_prompt_tokens = head.num_prompt_tokens,
      .num_computed_tokens = head.num_computed_tokens,
      .num_new_tokens = head.num_new_tokens,
      .block_table = known.blocks,
      .num_sent_blocks = head.first_block,
      .sampling = &known.sampling,
      .attention = {static_cast<AttentionMode>(head.mode), head.token_budget, head.dense_below},
      .num_pending_tokens = head.num_pending_tokens,
      .draft = known.draft,
      .masked = head.masked != 0,
      .prompt_logprobs = head.prompt_logprobs};
  return absl::OkStatus();
}

absl::Status StepDecoder::DecodeSampling(Reader& reader, SamplingParams* sampling) const {
  SamplingHead head;
  TIDAL_RETURN_IF_ERROR(reader.Take(&head));
  *sampling = {};
  sampling->temperature = head.temperature;
  sampling->top_p = head.top_p;
  sampling->min_p = head.min_p;
  sampling->repetition_penalty = head.repetition_penalty;
  sampling->presence_penalty = head.presence_penalty;
  sampling->frequency_penalty = head.frequency_penalty;
  sampling->top_k = head.top_k;
  sampling->num_logprobs = head.num_logprobs;
  sampling->num_prompt_logprobs = head.num_prompt_logprobs;
  sampling->min_tokens = head.min_tokens;
  sampling->seed = head.seed;
  std::vector<WireBias> biases;
  TIDAL_RETURN_IF_ERROR(
      reader.TakeTail(0, head.num_biases, SamplingParams::kMaxLogitBias, &biases));
  for (const WireBias& bias : biases) sampling->logit_bias.emplace_back(bias.token, bias.bias);
  TIDAL_RETURN_IF_ERROR(reader.TakeTail(0, head.num_banned, SamplingParams::kMaxBannedTokens,
                                        &sampling->banned_tokens));
  return reader.TakeTail(0, head.num_logprob_ids, SamplingParams::kMaxLogprobTokenIds,
                         &sampling->logprob_token_ids);
}

void EncodeMasks(const StepMasks& masks, std::vector<char>* out) {
  const MasksHead head = {.num_sequences = static_cast<uint32_t>(masks.of_sequences.size()),
                          .num_words = static_cast<uint32_t>(masks.words.size())};
  Append(&head, 1, out);
  Append(absl::MakeConstSpan(masks.of_sequences), out);
  Append(absl::MakeConstSpan(masks.words), out);
}

absl::StatusOr<StepMasks> DecodeMasks(absl::Span<const char> bytes) {
  StepDecoder::Reader reader(bytes);
  MasksHead head;
  TIDAL_RETURN_IF_ERROR(reader.Take(&head));
  StepMasks masks;
  TIDAL_RETURN_IF_ERROR(
      reader.TakeTail(0, head.num_sequences, head.num_sequences, &masks.of_sequences));
  TIDAL_RETURN_IF_ERROR(reader.TakeTail(0, head.num_words, head.num_words, &masks.words));
  if (!reader.empty()) return StepDecoder::Reader::Bad("it has bytes to spare");
  return masks;
}

}  // namespace tidal
