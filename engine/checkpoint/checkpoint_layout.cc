#include "engine/checkpoint/checkpoint_layout.h"

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

namespace tidal {
namespace {

absl::Status CheckTensor(const ModelTensors& tensors, const std::string& name,
                         const std::vector<int64_t>& shape) {
  TIDAL_ASSIGN_OR_RETURN(const TensorView* tensor, tensors.Find(name, shape));
  if (tensor->type != TensorType::kOther) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat("tensor ", name, ": dtype: must be BF16, F16 or F32, got ", tensor->type_name));
}

absl::Status CheckProjection(const ModelTensors& tensors, const ProjectionLayout& layout) {
  for (const ProjectionLayout::Part& part : layout.parts) {
    TIDAL_RETURN_IF_ERROR(
        CheckTensor(tensors, part.module + ".weight", {part.rows.whole, layout.columns.whole}));
    if (layout.bias) {
      TIDAL_RETURN_IF_ERROR(CheckTensor(tensors, part.module + ".bias", {part.rows.whole}));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckLayer(const ModelConfig& config, const LayerLayout& layout,
                        const ModelTensors& tensors) {
  for (const std::string* norm : {&layout.input_norm, &layout.post_attention_norm}) {
    TIDAL_RETURN_IF_ERROR(CheckTensor(tensors, *norm, {config.hidden_size}));
  }
  for (const std::string* norm : {&layout.q_norm, &layout.k_norm}) {
    if (!norm->empty()) TIDAL_RETURN_IF_ERROR(CheckTensor(tensors, *norm, {config.head_dim}));
  }
  for (const ProjectionLayout* projection :
       {&layout.qkv, &layout.o, &layout.gate_up, &layout.down}) {
    TIDAL_RETURN_IF_ERROR(CheckProjection(tensors, *projection));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t ProjectionLayout::rows() const {
  int64_t rows = 0;
  for (const Part& part : parts) rows += part.rows.mine.count;
  return rows;
}

LayerLayout LayoutOfLayer(const ModelConfig& config, int32_t layer) {
  const std::string prefix = absl::StrCat("model.layers.", layer, ".");
  const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
  const ModelShape whole = WholeShape(config);
  const Extent hidden = {whole.hidden_size, {0, whole.hidden_size}};
  const Extent q = {whole.q_size(), QueryRows(config)};
  const Extent kv = {whole.kv_size(), KeyValueRows(config)};
  const Extent mlp_rows = {whole.intermediate_size, MlpRows(config)};
  LayerLayout layout;
  layout.input_norm = prefix + "input_layernorm.weight";
  layout.post_attention_norm = prefix + "post_attention_layernorm.weight";
  if (config.qk_norm) {
    layout.q_norm = attention + "q_norm.weight";
    layout.k_norm = attention + "k_norm.weight";
  }
  layout.qkv = {{{attention + "q_proj", q}, {attention + "k_proj", kv}, {attention + "v_proj", kv}},
                hidden,
                config.qkv_bias};
  layout.o = {{{attention + "o_proj", hidden}}, q, config.o_bias};
  layout.gate_up = {
      {{mlp + "gate_proj", mlp_rows}, {mlp + "up_proj", mlp_rows}}, hidden, config.mlp_bias};
  layout.down = {{{mlp + "down_proj", hidden}}, mlp_rows, config.mlp_bias};
  return layout;
}

ProjectionLayout LayoutOfLmHead(const ModelConfig& config) {
  const char* const module = config.tie_word_embeddings ? "model.embed_tokens" : "lm_head";
  return {{{module, {config.vocab_size, VocabularyRows(config)}}},
          {config.hidden_size, {0, config.hidden_size}},
          /*bias=*/false};
}

absl::Status CheckTensors(const ModelConfig& config, const ModelTensors& tensors) {
  TIDAL_RETURN_IF_ERROR(
      CheckTensor(tensors, kEmbeddingTensor, {config.vocab_size, config.hidden_size}));
  for (int32_t layer = 0; layer < config.num_layers; ++layer) {
    TIDAL_RETURN_IF_ERROR(CheckLayer(config, LayoutOfLayer(config, layer), tensors));
  }
  TIDAL_RETURN_IF_ERROR(CheckTensor(tensors, kFinalNormTensor, {config.hidden_size}));
  return CheckProjection(tensors, LayoutOfLmHead(config));
}

}  // namespace tidal
