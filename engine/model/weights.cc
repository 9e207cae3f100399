#include "engine/model/weights.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/checkpoint/checkpoint_layout.h"

namespace tidal {
namespace {

// Where weights come from.
class Source {
 public:
  virtual ~Source() = default;
  virtual absl::StatusOr<DeviceBuffer> Embedding(const std::string& name, int64_t vocab,
                                                 int64_t hidden) = 0;
  virtual absl::StatusOr<DeviceBuffer> Norm(const std::string& name, int64_t size) = 0;
  virtual absl::StatusOr<Projection> Make(const ProjectionLayout& layout) = 0;
};

class Checkpoint final : public Source {
 public:
  Checkpoint(const ModelTensors& tensors, Shard shard, Backend* backend)
      : tensors_(tensors), shard_(shard), backend_(backend) {}

  absl::StatusOr<DeviceBuffer> Embedding(const std::string& name, int64_t vocab,
                                         int64_t hidden) override {
    staging_.resize(vocab * hidden);
    TIDAL_RETURN_IF_ERROR(Read(name, {vocab, hidden}, absl::MakeSpan(staging_)));
    return Upload(staging_, name);
  }

  absl::StatusOr<DeviceBuffer> Norm(const std::string& name, int64_t size) override {
    staging_.resize(size);
    TIDAL_RETURN_IF_ERROR(Read(name, {size}, absl::MakeSpan(staging_)));
    return Upload(staging_, name);
  }

  absl::StatusOr<Projection> Make(const ProjectionLayout& layout) override {
    Projection projection;
    TIDAL_ASSIGN_OR_RETURN(projection.weight, Weight(layout));
    // What ranks add up has the bias once.
    if (layout.bias && !(layout.splits_columns() && shard_.rank > 0)) {
      TIDAL_ASSIGN_OR_RETURN(projection.bias, Bias(layout));
    }
    return projection;
  }

 private:
  absl::StatusOr<std::unique_ptr<PackedWeight>> Weight(const ProjectionLayout& layout) {
    const int64_t columns = layout.columns.mine.count, rows = layout.rows();
    staging_.assign(rows * columns, {});
    int64_t row = 0;
    for (const ProjectionLayout::Part& part : layout.parts) {
      TIDAL_RETURN_IF_ERROR(ReadPart(part.module + ".weight",
                                     {part.rows.whole, layout.columns.whole}, part.rows,
                                     layout.columns, row));
      row += part.rows.mine.count;
    }
    std::unique_ptr<PackedWeight> weight = backend_->PackWeight(
        {staging_.data(), static_cast<int32_t>(rows), static_cast<int32_t>(columns)});
    if (!weight) {
      return absl::ResourceExhaustedError(
          absl::StrCat(layout.parts[0].module, ": ", rows * columns * sizeof(bfloat16),
                       " bytes do not fit into the memory of ", backend_->info().name));
    }
    return weight;
  }

  absl::StatusOr<DeviceBuffer> Bias(const ProjectionLayout& layout) {
    staging_.assign(layout.rows(), {});
    int64_t row = 0;
    for (const ProjectionLayout::Part& part : layout.parts) {
      TIDAL_RETURN_IF_ERROR(
          ReadPart(part.module + ".bias", {part.rows.whole}, part.rows, {1, {0, 1}}, row));
      row += part.rows.mine.count;
    }
    std::vector<float> bias(staging_.size());
    std::transform(staging_.begin(), staging_.end(), bias.begin(), ToFloat);
    return Upload(bias, layout.parts[0].module + ".bias");
  }

  template <typename T>
  absl::StatusOr<DeviceBuffer> Upload(const std::vector<T>& values, const std::string& name) {
    const auto bytes = static_cast<int64_t>(values.size() * sizeof(T));
    TIDAL_ASSIGN_OR_RETURN(DeviceBuffer buffer,
                           DeviceBuffer::Allocate(backend_, bytes, name.c_str()));
    backend_->CopyToDevice(buffer.As<void>(), values.data(), bytes);
    return buffer;
  }

  // This rank's part of a tensor into staging_, from its row `row` on.
  absl::Status ReadPart(const std::string& name, const std::vector<int64_t>& shape,
                        const Extent& rows, const Extent& columns, int64_t row) {
    TIDAL_ASSIGN_OR_RETURN(const TensorView* tensor, tensors_.Find(name, shape));
    const int64_t count = std::min(rows.mine.count, rows.whole - rows.mine.begin);
    const Slice mine = {rows.mine.begin, std::max<int64_t>(count, 0)};
    const int64_t width = columns.mine.count;
    return ReadSlice(*tensor, mine, columns.mine,
                     absl::MakeSpan(staging_).subspan(row * width, mine.count * width));
  }

  absl::Status Read(const std::string& name, const std::vector<int64_t>& shape,
                    absl::Span<bfloat16> out) {
    TIDAL_ASSIGN_OR_RETURN(const TensorView* tensor, tensors_.Find(name, shape));
    return ReadAsBFloat16(*tensor, out);
  }

  const ModelTensors& tensors_;
  const Shard shard_;
  Backend* backend_;
  std::vector<bfloat16> staging_;  // host, reused
};

class RandomNumbers final : public Source {
 public:
  RandomNumbers(Shard shard, Backend* backend) : shard_(shard), backend_(backend) {}

  absl::StatusOr<DeviceBuffer> Embedding(const std::string& name, int64_t vocab,
                                         int64_t hidden) override {
    const int64_t count = vocab * hidden;
    TIDAL_ASSIGN_OR_RETURN(
        DeviceBuffer buffer,
        DeviceBuffer::Allocate(backend_, count * sizeof(bfloat16), name.c_str()));
    backend_->FillRandom(buffer.As<bfloat16>(), count, ++seed_, 1);
    return buffer;
  }

  absl::StatusOr<DeviceBuffer> Norm(const std::string& name, int64_t size) override {
    const std::vector<bfloat16> ones(size, ToBFloat16(1.0f));
    const auto bytes = static_cast<int64_t>(size * sizeof(bfloat16));
    TIDAL_ASSIGN_OR_RETURN(DeviceBuffer buffer,
                           DeviceBuffer::Allocate(backend_, bytes, name.c_str()));
    backend_->CopyToDevice(buffer.As<void>(), ones.data(), bytes);
    return buffer;
  }

  absl::StatusOr<Projection> Make(const ProjectionLayout& layout) override {
    const int64_t out = layout.rows(), in = layout.columns.mine.count;
    // What ranks share out differs between them; the seeds of the rest do not.
    const uint64_t seed = ++seed_ + (uint64_t{static_cast<uint32_t>(shard_.rank)} << 32);
    Projection projection;
    projection.weight =
        backend_->PackRandomWeight(static_cast<int32_t>(out), static_cast<int32_t>(in), seed,
                                   1.0f / std::sqrt(static_cast<float>(layout.columns.whole)));
    if (!projection.weight) {
      return absl::ResourceExhaustedError(
          absl::StrCat(layout.parts[0].module, ": ", out * in * sizeof(bfloat16),
                       " bytes do not fit into the memory of ", backend_->info().name));
    }
    if (layout.bias) {
      TIDAL_ASSIGN_OR_RETURN(
          projection.bias,
          DeviceBuffer::Allocate(backend_, static_cast<int64_t>(out * sizeof(float)), "bias"));
    }
    return projection;
  }

 private:
  const Shard shard_;
  Backend* backend_;
  uint64_t seed_ = 0;
};

absl::StatusOr<LayerWeights> MakeLayer(const ModelConfig& config, int32_t layer, Source& source) {
  const LayerLayout layout = LayoutOfLayer(config, layer);
  const int64_t hidden = config.hidden_size;
  LayerWeights weights;
  TIDAL_ASSIGN_OR_RETURN(weights.input_norm, source.Norm(layout.input_norm, hidden));
  TIDAL_ASSIGN_OR_RETURN(weights.post_attention_norm,
                         source.Norm(layout.post_attention_norm, hidden));
  if (config.qk_norm) {
    TIDAL_ASSIGN_OR_RETURN(weights.q_norm, source.Norm(layout.q_norm, config.head_dim));
    TIDAL_ASSIGN_OR_RETURN(weights.k_norm, source.Norm(layout.k_norm, config.head_dim));
  }
  TIDAL_ASSIGN_OR_RETURN(weights.qkv, source.Make(layout.qkv));
  TIDAL_ASSIGN_OR_RETURN(weights.o, source.Make(layout.o));
  TIDAL_ASSIGN_OR_RETURN(weights.gate_up, source.Make(layout.gate_up));
  TIDAL_ASSIGN_OR_RETURN(weights.down, source.Make(layout.down));
  return weights;
}

absl::StatusOr<ModelWeights> MakeWeights(const ModelConfig& config, Source& source) {
  ModelWeights weights;
  TIDAL_ASSIGN_OR_RETURN(weights.embedding,
                         source.Embedding(kEmbeddingTensor, config.vocab_size, config.hidden_size));
  for (int32_t i = 0; i < config.num_layers; ++i) {
    TIDAL_ASSIGN_OR_RETURN(LayerWeights layer, MakeLayer(config, i, source));
    weights.layers.push_back(std::move(layer));
  }
  TIDAL_ASSIGN_OR_RETURN(weights.final_norm, source.Norm(kFinalNormTensor, config.hidden_size));
  TIDAL_ASSIGN_OR_RETURN(weights.lm_head, source.Make(LayoutOfLmHead(config)));
  return weights;
}

}  // namespace

int64_t ModelWeights::BytesPerStep() const {
  int64_t bytes = final_norm.bytes() + lm_head.bytes();
  for (const LayerWeights& layer : layers) {
    for (const DeviceBuffer* norm :
         {&layer.input_norm, &layer.post_attention_norm, &layer.q_norm, &layer.k_norm}) {
      bytes += norm->bytes();
    }
    for (const Projection* projection : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) {
      bytes += projection->bytes();
    }
  }
  return bytes;
}

int64_t WeightBytes(const ModelConfig& config, DType matmul_type) {
  int64_t elements = 0;
  for (int32_t i = 0; i < config.num_layers; ++i) {
    const LayerLayout layer = LayoutOfLayer(config, i);
    for (const ProjectionLayout* part : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) {
      elements += part->rows() * part->columns.mine.count;
    }
  }
  const ProjectionLayout head = LayoutOfLmHead(config);
  elements += head.rows() * head.columns.mine.count;
  const auto embedding =
      static_cast<int64_t>(sizeof(bfloat16)) * config.vocab_size * config.hidden_size;
  return embedding + elements * static_cast<int64_t>(SizeOf(matmul_type));
}

absl::StatusOr<ModelWeights> LoadWeights(const ModelConfig& config, const ModelTensors& tensors,
                                         Backend* backend) {
  TIDAL_RETURN_IF_ERROR(CheckTensors(config, tensors));
  Checkpoint checkpoint(tensors, config.shard, backend);
  return MakeWeights(config, checkpoint);
}

absl::StatusOr<ModelWeights> MakeRandomWeights(const ModelConfig& config, Backend* backend) {
  RandomNumbers numbers(config.shard, backend);
  return MakeWeights(config, numbers);
}

}  // namespace tidal
