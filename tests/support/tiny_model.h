// Small models with random weights, in the files a real one has.
#ifndef TIDAL_TESTS_SUPPORT_TINY_MODEL_H_
#define TIDAL_TESTS_SUPPORT_TINY_MODEL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/safetensors_writer.h"

namespace tidal {

struct TinyModelSpec {
  int32_t num_layers = 6;
  int32_t hidden_size = 48;
  int32_t intermediate_size = 80;
  int32_t num_heads = 4;
  int32_t num_kv_heads = 2;
  int32_t head_dim = 16;
  int32_t vocab_size = 101;
  int32_t max_position_embeddings = 1024;
  bool tie_word_embeddings = true;
  std::string type = "BF16";  // of the weights in the file
  int32_t num_shards = 1;     // more: sharded files with an index
  std::string tidal_json;     // empty = no such file
  uint32_t seed = 1;
};

// A Hugging Face folder in a temporary place, removed with the object.
class TinyModel {
 public:
  explicit TinyModel(const TinyModelSpec& spec);
  const std::string& path() const { return folder_.path(); }
  std::string FilePath(const std::string& name) const { return path() + "/" + name; }

 private:
  TempFolder folder_;
};

std::string TinyConfigJson(const TinyModelSpec& spec);

// Every tensor of the model, named as Llama's. The same seed gives the same values.
std::vector<TensorToWrite> TinyTensors(const TinyModelSpec& spec);

}  // namespace tidal

#endif  // TIDAL_TESTS_SUPPORT_TINY_MODEL_H_
