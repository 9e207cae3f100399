// Reads the tensors of a Hugging Face folder: model.safetensors, or the shards that
// model.safetensors.index.json names. Files are mapped, not copied. The format:
// 8 bytes little-endian header size, a JSON header, the tensors' bytes.
#ifndef TIDAL_ENGINE_CHECKPOINT_SAFETENSORS_H_
#define TIDAL_ENGINE_CHECKPOINT_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "kernels/types.h"

namespace tidal {

enum class TensorType : uint8_t { kBF16, kF16, kF32, kOther };  // kOther: can be listed, not read

// One tensor of a file. The bytes belong to the file and have no alignment.
struct TensorView {
  TensorType type = TensorType::kOther;
  std::string type_name;  // as in the file, "BF16"
  std::vector<int64_t> shape;
  absl::Span<const uint8_t> bytes;
};

// "[4096, 256]"
std::string ShapeString(absl::Span<const int64_t> shape);

// Copies elements as bf16 (fp16 and fp32 rounded to nearest even). `out` has one element for each
// of the tensor's. UNIMPLEMENTED for kOther.
absl::Status ReadAsBFloat16(const TensorView& tensor, absl::Span<bfloat16> out);

// Some rows or columns.
struct Slice {
  int64_t begin, count;
};

// The same for a part of a tensor of one dimension (a column) or two. The part lies within it.
absl::Status ReadSlice(const TensorView& tensor, Slice rows, Slice columns,
                       absl::Span<bfloat16> out);

using TensorMap = std::map<std::string, TensorView, std::less<>>;

// The tensors of one file's bytes, which outlive them. DATA_LOSS when the header, a shape or an
// offset contradicts another or the size; `file` is for messages.
absl::StatusOr<TensorMap> ParseSafetensors(absl::Span<const uint8_t> bytes,
                                           const std::string& file);

// The tensors of a model. Immutable, so thread-safe; views live as long as it does. The files must
// not be shortened meanwhile.
class ModelTensors {
 public:
  // NOT_FOUND (folder, file), DATA_LOSS (inconsistent file or index).
  static absl::StatusOr<std::unique_ptr<ModelTensors>> Open(const std::string& model_path);
  ~ModelTensors();

  // NOT_FOUND names the tensor; INVALID_ARGUMENT when its shape is another.
  absl::StatusOr<const TensorView*> Find(absl::string_view name,
                                         absl::Span<const int64_t> shape) const;
  bool Has(absl::string_view name) const { return tensors_.contains(name); }
  const TensorMap& tensors() const { return tensors_; }

 private:
  class MappedFile;
  explicit ModelTensors(std::string model_path);
  absl::Status AddFile(const std::string& file_name);
  absl::Status AddShards(const std::string& index_path);

  std::string model_path_;
  std::vector<std::unique_ptr<MappedFile>> files_;
  TensorMap tensors_;
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_CHECKPOINT_SAFETENSORS_H_
