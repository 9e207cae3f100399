#include "engine/weights.h"

#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

namespace tidal {
namespace {

// One matrix among those that are stacked into a fused projection.
struct Part {
  std::string name;
  int64_t rows;
};

class Loader {
 public:
  Loader(const ModelTensors& tensors, Backend* backend) : tensors_(tensors), backend_(backend) {}

  // A tensor as it is, on the device.
  absl::StatusOr<DeviceBuffer> Buffer(const std::string& name, std::vector<int64_t> shape) {
    int64_t elements = 1;
    for (int64_t dim : shape) elements *= dim;
    staging_.resize(elements);
    TIDAL_RETURN_IF_ERROR(Read(name, shape, absl::MakeSpan(staging_)));
    const auto bytes = static_cast<int64_t>(elements * sizeof(bfloat16));
    TIDAL_ASSIGN_OR_RETURN(DeviceBuffer buffer,
                           DeviceBuffer::Allocate(backend_, bytes, name.c_str()));
    backend_->CopyToDevice(buffer.As<void>(), staging_.data(), bytes);
    return buffer;
  }

  // Matrices [rows, columns] stacked by rows.
  absl::StatusOr<std::unique_ptr<PackedWeight>> Packed(const std::vector<Part>& parts,
                                                       int64_t columns) {
    int64_t rows = 0;
    for (const Part& part : parts) rows += part.rows;
    staging_.resize(rows * columns);
    int64_t row = 0;
    for (const Part& part : parts) {
      TIDAL_RETURN_IF_ERROR(
          Read(part.name, {part.rows, columns},
               absl::MakeSpan(staging_).subspan(row * columns, part.rows * columns)));
      row += part.rows;
    }
    std::unique_ptr<PackedWeight> weight = backend_->PackWeight(
        staging_.data(), static_cast<int32_t>(rows), static_cast<int32_t>(columns));
    if (!weight) {
      return absl::ResourceExhaustedError(
          absl::StrCat(parts[0].name, ": ", rows * columns * sizeof(bfloat16),
                       " bytes do not fit into the memory of ", backend_->info().device));
    }
    return weight;
  }

 private:
  absl::Status Read(const std::string& name, std::vector<int64_t> shape, absl::Span<bfloat16> out) {
    TIDAL_ASSIGN_OR_RETURN(const TensorView* tensor, tensors_.Find(name, shape));
    const absl::Status status = ReadAsBFloat16(*tensor, out);
    if (status.ok()) return status;
    return absl::Status(status.code(), absl::StrCat("tensor ", name, ": ", status.message()));
  }

  const ModelTensors& tensors_;
  Backend* backend_;
  std::vector<bfloat16> staging_;  // host, reused
};

absl::StatusOr<LayerWeights> LoadLayer(const ModelConfig& config, int32_t layer, Loader* loader) {
  const std::string prefix = absl::StrCat("model.layers.", layer, ".");
  const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
  LayerWeights weights;
  TIDAL_ASSIGN_OR_RETURN(weights.input_norm,
                         loader->Buffer(prefix + "input_layernorm.weight", {config.hidden_size}));
  TIDAL_ASSIGN_OR_RETURN(
      weights.post_attention_norm,
      loader->Buffer(prefix + "post_attention_layernorm.weight", {config.hidden_size}));
  TIDAL_ASSIGN_OR_RETURN(weights.qkv,
                         loader->Packed({{attention + "q_proj.weight", config.q_size()},
                                         {attention + "k_proj.weight", config.kv_size()},
                                         {attention + "v_proj.weight", config.kv_size()}},
                                        config.hidden_size));
  TIDAL_ASSIGN_OR_RETURN(
      weights.o,
      loader->Packed({{attention + "o_proj.weight", config.hidden_size}}, config.q_size()));
  TIDAL_ASSIGN_OR_RETURN(weights.gate_up,
                         loader->Packed({{mlp + "gate_proj.weight", config.intermediate_size},
                                         {mlp + "up_proj.weight", config.intermediate_size}},
                                        config.hidden_size));
  TIDAL_ASSIGN_OR_RETURN(
      weights.down,
      loader->Packed({{mlp + "down_proj.weight", config.hidden_size}}, config.intermediate_size));
  return weights;
}

}  // namespace

int64_t ModelWeights::BytesPerStep() const {
  int64_t bytes = final_norm.bytes() + static_cast<int64_t>(lm_head->bytes());
  for (const LayerWeights& layer : layers) {
    bytes += layer.input_norm.bytes() + layer.post_attention_norm.bytes();
    for (const auto* weight : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) {
      bytes += static_cast<int64_t>((*weight)->bytes());
    }
  }
  return bytes;
}

absl::StatusOr<ModelWeights> LoadWeights(const ModelConfig& config, const ModelTensors& tensors,
                                         Backend* backend) {
  const char* const kEmbedding = "model.embed_tokens.weight";
  Loader loader(tensors, backend);
  ModelWeights weights;
  TIDAL_ASSIGN_OR_RETURN(weights.embedding,
                         loader.Buffer(kEmbedding, {config.vocab_size, config.hidden_size}));
  for (int32_t i = 0; i < config.num_layers; ++i) {
    TIDAL_ASSIGN_OR_RETURN(LayerWeights layer, LoadLayer(config, i, &loader));
    weights.layers.push_back(std::move(layer));
  }
  TIDAL_ASSIGN_OR_RETURN(weights.final_norm,
                         loader.Buffer("model.norm.weight", {config.hidden_size}));
  TIDAL_ASSIGN_OR_RETURN(weights.lm_head,
                         loader.Packed({{config.tie_word_embeddings ? kEmbedding : "lm_head.weight",
                                         config.vocab_size}},
                                       config.hidden_size));
  return weights;
}

absl::StatusOr<ModelWeights> MakeRandomWeights(const ModelConfig& config, Backend* backend) {
  uint64_t seed = 0;
  const auto matrix = [&](std::unique_ptr<PackedWeight>* weight, int64_t out,
                          int64_t in) -> absl::Status {
    *weight = backend->PackRandomWeight(static_cast<int32_t>(out), static_cast<int32_t>(in), ++seed,
                                        1.0f / std::sqrt(static_cast<float>(in)));
    if (*weight) return absl::OkStatus();
    return absl::ResourceExhaustedError(
        absl::StrCat("random weight ", seed, ": ", out * in * sizeof(bfloat16),
                     " bytes do not fit into the memory of ", backend->info().device));
  };
  const std::vector<bfloat16> ones(config.hidden_size, ToBFloat16(1.0f));
  const auto norm = [&](DeviceBuffer* buffer) -> absl::Status {
    const auto bytes = static_cast<int64_t>(ones.size() * sizeof(bfloat16));
    TIDAL_ASSIGN_OR_RETURN(*buffer, DeviceBuffer::Allocate(backend, bytes, "norm"));
    backend->CopyToDevice(buffer->As<void>(), ones.data(), bytes);
    return absl::OkStatus();
  };
  ModelWeights weights;
  const int64_t embedding = int64_t{config.vocab_size} * config.hidden_size;
  TIDAL_ASSIGN_OR_RETURN(
      weights.embedding,
      DeviceBuffer::Allocate(backend, embedding * sizeof(bfloat16), "embedding"));
  backend->FillRandom(weights.embedding.As<bfloat16>(), embedding, ++seed, 1);
  weights.layers.resize(config.num_layers);
  for (LayerWeights& layer : weights.layers) {
    TIDAL_RETURN_IF_ERROR(norm(&layer.input_norm));
    TIDAL_RETURN_IF_ERROR(norm(&layer.post_attention_norm));
    TIDAL_RETURN_IF_ERROR(matrix(&layer.qkv, config.qkv_size(), config.hidden_size));
    TIDAL_RETURN_IF_ERROR(matrix(&layer.o, config.hidden_size, config.q_size()));
    TIDAL_RETURN_IF_ERROR(matrix(&layer.gate_up, 2 * config.intermediate_size, config.hidden_size));
    TIDAL_RETURN_IF_ERROR(matrix(&layer.down, config.hidden_size, config.intermediate_size));
  }
  TIDAL_RETURN_IF_ERROR(norm(&weights.final_norm));
  TIDAL_RETURN_IF_ERROR(matrix(&weights.lm_head, config.vocab_size, config.hidden_size));
  return weights;
}

}  // namespace tidal
