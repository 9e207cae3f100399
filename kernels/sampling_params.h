// The inputs of sampling. One row is one token that a sequence wants. What a sequence's sampling
// depends on lies in its slot, so that a step names the slot and nothing is sent again.
#ifndef TIDAL_KERNELS_SAMPLING_PARAMS_H_
#define TIDAL_KERNELS_SAMPLING_PARAMS_H_

#include <cstdint>

namespace tidal {

// How a sequence wants its tokens chosen. Applied in this order (vLLM's): logit bias, tokens banned
// for now, repetition, frequency and presence penalties, the step's mask, temperature, min-p,
// top-k, top-p, one draw.
struct SamplingSettings {
  float temperature;         // 0 = greedy, ties to the lower id
  int32_t top_k;             // 0 = off
  float top_p;               // 1 = off
  float min_p;               // 0 = off
  float repetition_penalty;  // 1 = off
  float presence_penalty;    // 0 = off
  float frequency_penalty;   // 0 = off
  int32_t num_logprobs;  // 0 .. max_logprobs alternatives wanted, besides the sampled token's own
  // Positive: the alternatives wanted are the first so many of the slot's logprob_ids instead.
  int32_t num_logprob_ids;
  int32_t num_biases;  // the first of the slot's biases
  int32_t num_bans;    // those after them: tokens that none of the first min_tokens may be
  int32_t min_tokens;
  // The draw is a pure function of (seed, number of tokens generated before): a request with a seed
  // repeats whatever its batch mates.
  uint64_t seed;

  // Does the choice depend on which tokens came before?
  constexpr bool has_penalties() const {
    return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0;
  }
  // Biases that count for the token after `generated` others.
  constexpr int32_t BiasesAfter(int32_t generated) const {
    return num_biases + (generated < min_tokens ? num_bans : 0);
  }
};

struct TokenBias {
  int32_t token;
  float bias;  // added to the logit; -infinity bans the token
};

// How often a token occurred in a sequence: in its prompt at all, in its output how many times.
struct TokenCount {
  static constexpr uint16_t kInPrompt = 0x8000;
  static constexpr uint16_t kMaxOutputs = 0x7fff;  // more count as so many

  uint16_t bits;

  constexpr bool occurred() const { return bits != 0; }
  constexpr int32_t outputs() const { return bits & kMaxOutputs; }
  constexpr TokenCount AfterPrompt() const { return {static_cast<uint16_t>(bits | kInPrompt)}; }
  constexpr TokenCount AfterOutput() const {
    return {static_cast<uint16_t>(outputs() < kMaxOutputs ? bits + 1 : bits)};
  }
};

// What slots hold for sampling. Device memory.
struct SamplingSlots {
  const SamplingSettings* settings;  // [slots]
  const TokenBias* biases;           // [slots, max_biases]
  const int32_t* logprob_ids;        // [slots, max_logprob_ids], of each slot rising
  TokenCount* counts;                // [slots, vocab], of sequences with penalties
  int32_t* last_tokens;              // [slots], each slot's last sampled token
  int32_t max_biases, max_logprob_ids;

  constexpr const int32_t* LogprobIdsOf(int32_t slot) const {
    return logprob_ids + int64_t{slot} * max_logprob_ids;
  }
  // `token` was sampled for the slot.
  constexpr void TakeOver(int32_t slot, int32_t token, int32_t vocab) const {
    last_tokens[slot] = token;
    if (!settings[slot].has_penalties()) return;
    TokenCount& count = counts[int64_t{slot} * vocab + token];
    count = count.AfterOutput();
  }
};

// Log probabilities are those of the raw logits, before bias, penalties and temperature.
//
// A row is corrupt when a raw logit of it is NaN or +infinity, or when none is finite: -infinity
// alone is a model's way to say "never". All log probabilities of a corrupt row are NaN, and of no
// other; its token is a valid id, which the next step may read, and means nothing.
//
// Rows of a draft (a verify row's): one for each token of it follow each other, the first after the
// text, each later one after one more token of the draft, which counts for its penalties as if it
// had been sampled.
struct DraftRows {
  static constexpr int32_t kNoToken = -1;

  const int32_t* places;       // [num_rows], the draft's tokens before it; null: no row has any
  const int32_t* next_tokens;  // [num_rows], the draft's next token; kNoToken where it has none

  constexpr int32_t NumBefore(int32_t row) const { return places == nullptr ? 0 : places[row]; }
  // The draft's tokens before the row.
  constexpr const int32_t* Before(int32_t row) const {
    return places == nullptr ? nullptr : next_tokens + row - places[row];
  }
  // Is the row one of several of its slot?
  constexpr bool IsOneOfSeveral(int32_t row) const {
    return places != nullptr && (places[row] > 0 || next_tokens[row] != kNoToken);
  }
};

// Which tokens may be sampled: token t where bit t % 32 of word t / 32 is set. At least one may.
struct TokenMasks {
  static constexpr int32_t kNoMask = -1;

  const int32_t* of_rows;  // [num_rows], each row's mask; kNoMask: any token. Null: no row has one
  const uint32_t* words;   // [masks, NumWords(vocab)]

  static constexpr int32_t NumWords(int32_t vocab) { return (vocab + 31) / 32; }
  // The row's mask; null where it has none.
  constexpr const uint32_t* Of(int32_t row, int32_t vocab) const {
    if (of_rows == nullptr || of_rows[row] == kNoMask) return nullptr;
    return words + int64_t{of_rows[row]} * NumWords(vocab);
  }
};

// The sampled token becomes the slot's last token and, where there are penalties, is counted; with
// several rows of a slot AcceptDrafts() does that.
struct SampleParams {
  float* logits;                  // [num_rows, vocab]; overwritten
  const int32_t* sequence_slots;  // [num_rows], different but for the rows of a draft
  const int32_t* generated;       // [num_rows], tokens generated before this one
  SamplingSlots slots;
  int32_t* token_ids;   // [num_rows] out
  float* logprobs;      // [num_rows] out, of the sampled token; NaN: a corrupt row
  int32_t* top_ids;     // [num_rows, max_logprobs] out, best first; -1 where there is no more
  float* top_logprobs;  // [num_rows, max_logprobs] out
  int32_t num_rows, vocab, max_logprobs;
  DraftRows drafts = {};
  TokenMasks masks = {};

  // What AcceptDrafts() does where a draft begins with this row.
  constexpr void AcceptDraft(int32_t row) const {
    if (!drafts.IsOneOfSeveral(row) || drafts.places[row] > 0) return;
    bool guessed = true;
    for (int32_t r = row; guessed; ++r) {
      slots.TakeOver(sequence_slots[row], token_ids[r], vocab);
      guessed = token_ids[r] == drafts.next_tokens[r];
    }
  }
};

// Log probabilities of given tokens, one a row, with the arithmetic of those of sampled ones: from
// the same logits a token has the same number, to the bit. Rows may be corrupt as above, and then
// all their log probabilities are NaN, and ranks and ids mean nothing.
struct TokenLogprobsParams {
  float* logits;             // [num_rows, vocab]; overwritten
  const int32_t* token_ids;  // [num_rows], each in [0, vocab)
  float* logprobs;           // [num_rows] out
  int32_t* ranks;            // [num_rows] out: 1 = the likeliest; ties to the lower id
  int32_t* top_ids;          // [num_rows, max_logprobs] out, best first; -1 where there is no more
  float* top_logprobs;       // [num_rows, max_logprobs] out
  int32_t num_rows, vocab, max_logprobs;  // num_rows: at most those of Sample()
};

// The counts of one slot, begun anew: of the tokens of a prompt, then of an output.
struct CountTokensParams {
  const int32_t* tokens;  // [num_tokens], each in [0, vocab)
  int32_t num_tokens, num_prompt_tokens;
  TokenCount* counts;  // [vocab]
  int32_t vocab;
};

}  // namespace tidal

#endif  // TIDAL_KERNELS_SAMPLING_PARAMS_H_
