// The inputs of sampling. One row is one sequence that wants a token.
#ifndef TIDAL_KERNELS_SAMPLING_PARAMS_H_
#define TIDAL_KERNELS_SAMPLING_PARAMS_H_

#include <cstdint>

namespace tidal {

// Applied in this order (vLLM's): logit bias, repetition, frequency and presence penalties,
// temperature, min-p, top-k, top-p, one draw.
struct SamplingRow {
  float temperature;         // 0 = greedy, ties to the lower id
  int32_t top_k;             // 0 = off
  float top_p;               // 1 = off
  float min_p;               // 0 = off
  float repetition_penalty;  // 1 = off
  float presence_penalty;    // 0 = off
  float frequency_penalty;   // 0 = off
  // The draw is a pure function of (seed, counter): a request with a seed repeats whatever its
  // batch mates. counter = number of tokens generated before this one.
  uint64_t seed;
  uint64_t counter;
  int32_t num_logprobs;  // 0 .. max_logprobs alternatives wanted, besides the sampled token's own
  int32_t penalty_begin, penalty_end;  // this row's range in `penalties`
  int32_t bias_begin, bias_end;        // this row's range in `biases`
};

// A token that occurred: in the prompt, or output_count times in the output.
struct TokenOccurrence {
  int32_t token;
  int32_t output_count;
};

struct TokenBias {
  int32_t token;
  float bias;  // added to the logit; -infinity bans the token
};

// Log probabilities are those of the raw logits, before bias, penalties and temperature.
//
// A row is corrupt when a raw logit of it is NaN or +infinity, or when none is finite: -infinity
// alone is a model's way to say "never". All log probabilities of a corrupt row are NaN, and of no
// other; its token is a valid id, which the next step may read, and means nothing.
struct SamplingParamsView {
  float* logits;                     // [rows, vocab]; overwritten
  const SamplingRow* rows;           // [num_rows]
  const TokenOccurrence* penalties;  // all rows' occurrences
  const TokenBias* biases;           // all rows' biases
  int32_t* token_ids;                // [num_rows] out
  float* logprobs;                   // [num_rows] out, of the sampled token; NaN: a corrupt row
  int32_t* top_ids;                  // [num_rows, max_logprobs] out, best first
  float* top_logprobs;               // [num_rows, max_logprobs] out
  int32_t num_rows, vocab, max_logprobs;
};

}  // namespace tidal

#endif  // TIDAL_KERNELS_SAMPLING_PARAMS_H_
