// Rows to sample, each in a slot of its own (row_slots.h) but for those of a draft, and the suite
// of a back end that does.
#ifndef TIDAL_TESTS_KERNELS_SAMPLING_CASE_H_
#define TIDAL_TESTS_KERNELS_SAMPLING_CASE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/sampling_params.h"
#include "tests/kernels/backend_fixture.h"
#include "tests/kernels/device_array.h"
#include "tests/kernels/row_slots.h"

namespace tidal {

inline constexpr float kInf = std::numeric_limits<float>::infinity();

struct CountedToken {
  int32_t token;
  TokenCount count;
};
inline constexpr TokenCount kInPrompt = {TokenCount::kInPrompt};

// What a sequence wants and has.
struct SamplingRow {
  SamplingSettings settings;  // without num_biases, num_bans, num_logprob_ids: they follow from
  std::vector<TokenBias> biases;
  std::vector<int32_t> bans;
  std::vector<int32_t> logprob_ids = {};  // rising
  std::vector<CountedToken> counts;       // those of all other tokens are 0
  int32_t generated = 0;
  std::optional<std::vector<int32_t>> allowed = {};  // of its mask; nothing: it has none
};

// The rows of a verify row: `first` and as many more of its slot as there are tokens in the draft.
struct DraftOf {
  int32_t first;
  std::vector<int32_t> tokens;
};

inline SamplingRow PlainRow(float temperature) {
  SamplingRow row = {};
  row.settings.temperature = temperature;
  row.settings.top_p = 1;
  row.settings.repetition_penalty = 1;
  return row;
}

struct Sampled {
  std::vector<int32_t> tokens;      // [rows]
  std::vector<float> logprobs;      // [rows]
  std::vector<int32_t> top_ids;     // [rows, max_logprobs]
  std::vector<float> top_logprobs;  // the same
};

// The slots of nobody, and the counts of rows without penalties, hold what would change the result
// that it enters.
class SamplingCase {
 public:
  // logits: [rows, vocab]. The back end outlives the case.
  SamplingCase(Backend& backend, const std::vector<SamplingRow>& rows,
               const std::vector<float>& logits, int32_t max_logprobs,
               const std::vector<DraftOf>& drafts = {})
      : backend_(backend),
        num_rows_(static_cast<int32_t>(rows.size())),
        vocab_(static_cast<int32_t>(logits.size() / rows.size())),
        max_logprobs_(max_logprobs),
        max_biases_(MostBiases(rows)),
        slots_(SlotsOf(num_rows_, drafts)),
        logits_(logits),
        settings_(NumSlots(num_rows_)),
        counts_(settings_.size() * vocab_, {0xffff}),
        last_tokens_(settings_.size(), kPoison),
        device_logits_(backend, logits),
        device_slots_(backend, slots_),
        device_generated_(backend, num_rows_),
        device_settings_(backend, settings_.size()),
        device_biases_(backend, settings_.size() * max_biases_),
        device_logprob_ids_(backend, settings_.size() * kMaxLogprobIds),
        device_counts_(backend, counts_.size()),
        device_last_tokens_(backend, last_tokens_),
        tokens_(backend, num_rows_ + 1),
        logprobs_(backend, num_rows_ + 1),
        top_ids_(backend, num_rows_ * max_logprobs + 1),
        top_logprobs_(backend, num_rows_ * max_logprobs + 1),
        device_places_(backend, num_rows_),
        device_next_tokens_(backend, num_rows_),
        mask_of_row_(MasksOf(rows)),
        device_mask_of_row_(backend, mask_of_row_),
        device_mask_words_(backend, MaskWords(rows, vocab_)) {
    FillSlots(rows);
    FillDrafts(drafts);
  }

  SampleParams Params() const {
    return {.logits = device_logits_.get(),
            .sequence_slots = device_slots_.get(),
            .generated = device_generated_.get(),
            .slots = {.settings = device_settings_.get(),
                      .biases = device_biases_.get(),
                      .logprob_ids = device_logprob_ids_.get(),
                      .counts = device_counts_.get(),
                      .last_tokens = device_last_tokens_.get(),
                      .max_biases = max_biases_,
                      .max_logprob_ids = kMaxLogprobIds},
            .token_ids = tokens_.get(),
            .logprobs = logprobs_.get(),
            .top_ids = top_ids_.get(),
            .top_logprobs = top_logprobs_.get(),
            .num_rows = num_rows_,
            .vocab = vocab_,
            .max_logprobs = max_logprobs_,
            .drafts = {has_drafts_ ? device_places_.get() : nullptr,
                       has_drafts_ ? device_next_tokens_.get() : nullptr},
            .masks = {has_masks() ? device_mask_of_row_.get() : nullptr,
                      has_masks() ? device_mask_words_.get() : nullptr}};
  }

  // A token of every row, from the same logits and settings each time. What slots hold of last
  // tokens and counts must be as it was but for these.
  Sampled Sample() {
    device_logits_.Write(logits_);  // the CPU back end overwrites them
    Poison(tokens_);
    Poison(logprobs_);
    Poison(top_ids_);
    Poison(top_logprobs_);
    backend_.Sample(Params());
    if (has_drafts_) backend_.AcceptDrafts(Params());
    const Sampled s = {Read(tokens_), Read(logprobs_), Read(top_ids_), Read(top_logprobs_)};
    bool accepted = true;
    for (int32_t row = 0; row < num_rows_; ++row) {
      const int32_t slot = slots_[row];
      accepted = places_[row] == 0 || (accepted && s.tokens[row - 1] == next_tokens_[row - 1]);
      if (!accepted) continue;
      last_tokens_[slot] = s.tokens[row];
      TokenCount& count = counts_.at(int64_t{slot} * vocab_ + s.tokens[row]);
      if (settings_[slot].has_penalties()) count = count.AfterOutput();
    }
    EXPECT_EQ(device_last_tokens_.Read(), last_tokens_);
    EXPECT_TRUE(std::ranges::equal(device_counts_.Read(), counts_, {}, &TokenCount::bits,
                                   &TokenCount::bits));
    return s;
  }

 private:
  static constexpr int32_t kPoison = -5;
  static constexpr int32_t kMaxLogprobIds = 128;

  static int32_t MostBiases(const std::vector<SamplingRow>& rows) {
    size_t most = 1;
    for (const SamplingRow& row : rows) most = std::max(most, row.biases.size() + row.bans.size());
    return static_cast<int32_t>(most);
  }
  // Masks are in the order of their rows, last first.
  static std::vector<int32_t> MasksOf(const std::vector<SamplingRow>& rows) {
    int32_t masks = 0;
    for (const SamplingRow& row : rows) masks += row.allowed.has_value();
    std::vector<int32_t> of_rows;
    for (const SamplingRow& row : rows) {
      of_rows.push_back(row.allowed.has_value() ? --masks : TokenMasks::kNoMask);
    }
    return of_rows;
  }
  static std::vector<uint32_t> MaskWords(const std::vector<SamplingRow>& rows, int32_t vocab) {
    const std::vector<int32_t> of_rows = MasksOf(rows);
    const int32_t num_words = TokenMasks::NumWords(vocab);
    std::vector<uint32_t> words(rows.size() * num_words);
    for (size_t row = 0; row < rows.size(); ++row) {
      if (!rows[row].allowed.has_value()) continue;
      for (const int32_t token : *rows[row].allowed) {
        words[int64_t{of_rows[row]} * num_words + token / 32] |= 1u << (token % 32);
      }
    }
    return words;
  }
  bool has_masks() const {
    return std::ranges::any_of(mask_of_row_, [](int32_t m) { return m != TokenMasks::kNoMask; });
  }
  static std::vector<int32_t> SlotsOf(int32_t rows, const std::vector<DraftOf>& drafts) {
    std::vector<int32_t> slots = RowSlots(rows);
    for (const DraftOf& draft : drafts) {
      std::fill_n(slots.begin() + draft.first + 1, draft.tokens.size(), slots[draft.first]);
    }
    return slots;
  }
  void FillDrafts(const std::vector<DraftOf>& drafts) {
    has_drafts_ = !drafts.empty();
    places_.assign(num_rows_, 0);
    next_tokens_.assign(num_rows_, DraftRows::kNoToken);
    for (const DraftOf& draft : drafts) {
      for (size_t i = 0; i < draft.tokens.size(); ++i) {
        next_tokens_[draft.first + i] = draft.tokens[i];
        places_[draft.first + i + 1] = static_cast<int32_t>(i + 1);
      }
    }
    device_places_.Write(places_);
    device_next_tokens_.Write(next_tokens_);
  }
  void FillSlots(const std::vector<SamplingRow>& rows) {
    SamplingSettings foreign = PlainRow(50).settings;
    foreign.frequency_penalty = 9;
    foreign.num_biases = max_biases_;
    std::fill(settings_.begin(), settings_.end(), foreign);
    std::vector<TokenBias> biases(settings_.size() * max_biases_, {0, 1e6f});
    std::vector<int32_t> generated, logprob_ids(settings_.size() * kMaxLogprobIds);
    for (int32_t i = 0; i < num_rows_; ++i) {
      const SamplingRow& row = rows[i];
      const int32_t slot = slots_[i];
      SamplingSettings& settings = settings_[slot];
      settings = row.settings;
      settings.num_biases = static_cast<int32_t>(row.biases.size());
      settings.num_bans = static_cast<int32_t>(row.bans.size());
      auto bias = std::copy(row.biases.begin(), row.biases.end(),
                            biases.begin() + int64_t{slot} * max_biases_);
      for (int32_t token : row.bans) *bias++ = {token, -kInf};
      settings.num_logprob_ids = static_cast<int32_t>(row.logprob_ids.size());
      std::ranges::copy(row.logprob_ids, logprob_ids.begin() + int64_t{slot} * kMaxLogprobIds);
      generated.push_back(row.generated);
      if (!settings.has_penalties()) continue;
      const auto counts = counts_.begin() + int64_t{slot} * vocab_;
      std::fill_n(counts, vocab_, TokenCount{});
      for (const auto& [token, count] : row.counts) counts[token] = count;
    }
    device_settings_.Write(settings_);
    device_biases_.Write(biases);
    device_logprob_ids_.Write(logprob_ids);
    device_generated_.Write(generated);
    device_counts_.Write(counts_);
  }
  template <typename T>
  static void Poison(DeviceArray<T>& out) {
    out.Write(std::vector<T>(out.size(), kPoison));
  }
  // All but the element behind the output, which must be as it was.
  template <typename T>
  static std::vector<T> Read(const DeviceArray<T>& out) {
    std::vector<T> host = out.Read();
    EXPECT_EQ(host.back(), kPoison);
    host.pop_back();
    return host;
  }

  Backend& backend_;
  const int32_t num_rows_, vocab_, max_logprobs_, max_biases_;
  const std::vector<int32_t> slots_;  // of the rows
  const std::vector<float> logits_;
  // What is, or is to be, in the slots.
  std::vector<SamplingSettings> settings_;
  std::vector<TokenCount> counts_;
  std::vector<int32_t> last_tokens_;
  bool has_drafts_ = false;
  std::vector<int32_t> places_, next_tokens_;  // as in DraftRows
  DeviceArray<float> device_logits_;
  DeviceArray<int32_t> device_slots_, device_generated_;
  DeviceArray<SamplingSettings> device_settings_;
  DeviceArray<TokenBias> device_biases_;
  DeviceArray<int32_t> device_logprob_ids_;
  DeviceArray<TokenCount> device_counts_;
  DeviceArray<int32_t> device_last_tokens_;
  DeviceArray<int32_t> tokens_;
  DeviceArray<float> logprobs_;
  DeviceArray<int32_t> top_ids_;
  DeviceArray<float> top_logprobs_;
  DeviceArray<int32_t> device_places_, device_next_tokens_;
  const std::vector<int32_t> mask_of_row_;
  DeviceArray<int32_t> device_mask_of_row_;
  DeviceArray<uint32_t> device_mask_words_;
};

class SamplingFixture : public BackendFixture {
 protected:
  static constexpr int32_t kMaxRows = 512, kMaxVocab = 160000;

  void SetUp() override {
    BackendFixture::SetUp();
    if (backend_ == nullptr) return;
    BackendLimits limits = {};
    limits.max_tokens = limits.max_sampled_rows = kMaxRows;
    limits.max_decode_rows = NumSlots(kMaxRows);
    limits.max_context_len = 256;
    limits.num_heads = 2;
    limits.num_kv_heads = 1;
    limits.head_dim = 64;
    limits.vocab_size = kMaxVocab;
    limits.block_size = 16;
    limits.max_scored_tokens = 256;
    ASSERT_TRUE(backend_->Reserve(limits));
  }

  // Each of the rows samples from the same logits.
  Sampled Sample(const std::vector<float>& logits, const std::vector<SamplingRow>& rows,
                 int32_t max_logprobs = 0) {
    std::vector<float> all;
    for (size_t i = 0; i < rows.size(); ++i) all.insert(all.end(), logits.begin(), logits.end());
    return SamplingCase(*backend_, rows, all, max_logprobs).Sample();
  }

  // Its parameters are for the reference.
  std::unique_ptr<Backend> host_ = MakeCpuBackend({.num_threads = 2, .isa = CpuIsa::kPortable});
};

}  // namespace tidal

#endif  // TIDAL_TESTS_KERNELS_SAMPLING_CASE_H_
