// One step as the model sees it: flat arrays, sorted by how their rows attend.
#ifndef TIDAL_ENGINE_STEP_INPUT_BATCH_H_
#define TIDAL_ENGINE_STEP_INPUT_BATCH_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/memory/device_buffer.h"
#include "engine/memory/memory_plan.h"
#include "engine/step.h"
#include "engine/step/sequence_slots.h"
#include "kernels/device.h"
#include "kernels/sampling_params.h"

namespace tidal {

// Host numbers. Rows come in this order: sparse decode, dense decode, chunks: those of prompts and
// verify rows, which attend alike. A decode row is one token, so decode row r is also token r; the
// tokens of chunks follow. A batch without chunks may end with padding: decode rows of no sequence,
// with an empty context, that fill a graph's bucket.
struct BatchShape {
  int32_t num_tokens = 0;
  int32_t sparse_rows = 0;
  int32_t dense_rows = 0;  // decode rows that are not sparse
  int32_t padding_rows = 0;
  int32_t chunks = 0;
  int32_t verify_tokens = 0;  // of those chunks that are verify rows
  bool selects = false;       // some row is sparse, or may be where this is recorded
  int32_t logit_rows = 0;     // one or all of a sequence, in the order of tokens; then padding's
  int32_t prompt_rows = 0;    // whose logits the prompt's next tokens are compared with
  int32_t max_decode_context = 0;  // tokens; 0 without such rows; max_model_len where recorded
  int32_t max_chunk_context = 0, max_query_len = 0;
  int32_t scored_tokens = 0;  // where the sparse rows' scores end (DecodeRows::row_begins)
  int32_t max_table_updates = 0;

  int32_t decode_rows() const { return sparse_rows + dense_rows + padding_rows; }
  int32_t num_sequences() const { return decode_rows() + chunks; }
};

// All pointers are device pointers, valid until the next Pack().
struct Batch {
  BatchShape shape;
  // Not 0: steps with this key differ in what device memory holds only, and may replay a graph.
  GraphKey graph_key = 0;
  const int32_t* table_updates = nullptr;      // as UpdateTablesParams takes them
  const int32_t* num_table_updates = nullptr;  // one number
  const int32_t* token_ids = nullptr;          // [num_tokens], or ~slot for its last token
  const int32_t* positions = nullptr;          // [num_tokens]
  const int32_t* slot_mapping = nullptr;       // [num_tokens], cache slots
  const int32_t* sequence_slots = nullptr;     // [num_sequences]
  const int32_t* context_lens = nullptr;       // [num_sequences], new tokens included
  const int32_t* cu_query_lens = nullptr;      // [chunks + 1]
  const int32_t* token_budgets = nullptr;      // [decode_rows], 0 where not sparse
  const int32_t* recency = nullptr;            // [decode_rows]
  const int32_t* row_begins = nullptr;         // [decode_rows], as in DecodeRows
  const int32_t* logit_rows = nullptr;         // [logit_rows], tokens whose logits are needed
  const int32_t* sampled_slots = nullptr;      // [logit_rows], whose logits they are
  const int32_t* generated = nullptr;          // [logit_rows], tokens generated before
  DraftRows drafts = {};                       // of [logit_rows]; none without verify rows
  const int32_t* prompt_rows = nullptr;        // [prompt_rows], tokens whose logits are compared
  const int32_t* prompt_targets = nullptr;     // [prompt_rows], the token that follows each
};

// How the model makes decode rows sparse.
struct SparsePacking {
  bool enabled = false;        // the plan has a layer that reads selected tokens only
  float recency_fraction = 0;  // of a row's budget
};

// Not thread-safe.
class InputBatch {
 public:
  static absl::StatusOr<InputBatch> Create(const MemoryPlan& plan, Device* device);

  // Fills the host arrays and starts one copy to the device, behind what the slots are sent. The
  // input has been checked.
  const Batch& Pack(const StepInput& input, const SparsePacking& sparse, SequenceSlots* slots);
  // A batch of `rows` decode rows that pad it all, with the key of steps of so many rows.
  const Batch& PackPadding(int32_t rows, bool sparse);

  // What Pack() gave last.
  const Batch& batch() const { return batch_; }

  // StepInput::sequences index of every row, in the order of the batch.
  const std::vector<int32_t>& order() const { return order_; }
  // The same for every row of logits.
  const std::vector<int32_t>& logit_order() const { return logit_order_; }
  // And for every prompt row.
  const std::vector<int32_t>& prompt_order() const { return prompt_order_; }

 private:
  void Order(const StepInput& input, const SparsePacking& sparse);
  // A step of decode rows only is rounded up to the rows of its graph.
  void Pad(int32_t rows, bool sparse);
  void PackTableUpdates();
  void PackTokens(const StepInput& input);
  void PackSequences(const StepInput& input);
  void PackSelection(const StepInput& input, const SparsePacking& sparse);
  void PackLogits(const StepInput& input);
  void PackDrafts(const StepInput& input);
  void PackPromptRows(const StepInput& input);
  // Fills the sections in the order of their places, once the shape is known, and copies them.
  const Batch& Send(const StepInput& input, const SparsePacking& sparse);
  // Room for `count` numbers in the host array; *device will point to their copy.
  int32_t* Section(int64_t count, const int32_t** device);

  Device* device_ = nullptr;
  MemoryPlan plan_ = {};
  DeviceBuffer buffer_;
  std::vector<int32_t> host_;  // as large as buffer_; unchanged until the next Pack()
  int64_t used_ = 0;
  std::vector<int32_t> order_, logit_order_, prompt_order_;
  std::vector<int32_t> table_updates_;  // as UpdateTablesParams takes them
  Batch batch_;
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_STEP_INPUT_BATCH_H_
