#include "engine/checkpoint/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "engine/json/json_file.h"

namespace tidal {
namespace {

// Exponent and mantissa in a float's place, then the difference of the exponents' biases, 112, as a
// factor: subnormal numbers need nothing else.
float HalfToFloat(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16, magnitude = half & 0x7fffu;
  if (magnitude >= 0x7c00) {  // infinity and NaN
    return std::bit_cast<float>(sign | 0x7f800000u | (magnitude & 0x3ff) << 13);
  }
  const float value = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
}

template <typename T, typename Function>
void ConvertAll(absl::Span<const uint8_t> bytes, absl::Span<bfloat16> out, Function convert) {
  for (size_t i = 0; i < out.size(); ++i) {
    T element;
    std::memcpy(&element, bytes.data() + i * sizeof(T), sizeof(T));
    out[i] = convert(element);
  }
}

// Elements of `tensor`, of which `bytes` are some.
absl::Status Convert(const TensorView& tensor, absl::Span<const uint8_t> bytes,
                     absl::Span<bfloat16> out) {
  switch (tensor.type) {
    case TensorType::kBF16:
      if (!out.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
      return absl::OkStatus();
    case TensorType::kF16:
      ConvertAll<uint16_t>(bytes, out, [](uint16_t half) { return ToBFloat16(HalfToFloat(half)); });
      return absl::OkStatus();
    case TensorType::kF32:
      ConvertAll<float>(bytes, out, ToBFloat16);
      return absl::OkStatus();
    case TensorType::kOther:
      break;
  }
  return absl::UnimplementedError(
      absl::StrCat("dtype: must be BF16, F16 or F32, got ", tensor.type_name));
}

}  // namespace

absl::Status ReadAsBFloat16(const TensorView& tensor, absl::Span<bfloat16> out) {
  int64_t elements = 1;
  for (int64_t dim : tensor.shape) elements *= dim;
  TIDAL_CHECK(static_cast<size_t>(elements) == out.size());
  return Convert(tensor, tensor.bytes, out);
}

absl::Status ReadSlice(const TensorView& tensor, Slice rows, Slice columns,
                       absl::Span<bfloat16> out) {
  const int64_t width = tensor.shape.size() > 1 ? tensor.shape[1] : 1;
  TIDAL_CHECK(static_cast<int64_t>(out.size()) == rows.count * columns.count);
  if (out.empty()) return absl::OkStatus();
  const int64_t element = static_cast<int64_t>(tensor.bytes.size()) / (tensor.shape[0] * width);
  // Whole rows follow each other and are read as one.
  const bool whole_rows = columns.count == width;
  const int64_t runs = whole_rows ? 1 : rows.count;
  const int64_t length = whole_rows ? rows.count * width : columns.count;
  for (int64_t run = 0; run < runs; ++run) {
    const int64_t first = (rows.begin + run) * width + columns.begin;
    TIDAL_RETURN_IF_ERROR(Convert(tensor, tensor.bytes.subspan(first * element, length * element),
                                  out.subspan(run * length, length)));
  }
  return absl::OkStatus();
}

// A whole file, mapped read-only.
class ModelTensors::MappedFile {
 public:
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno)));
    struct stat info = {};
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
      close(fd);
      return absl::NotFoundError(absl::StrCat(path, ": is not a file"));
    }
    const auto size = static_cast<size_t>(info.st_size);
    void* data = size ? mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0) : nullptr;
    const int error = errno;
    close(fd);
    if (data == MAP_FAILED) {
      return absl::ResourceExhaustedError(
          absl::StrCat(path, ": cannot be mapped: ", std::strerror(error)));
    }
    return std::unique_ptr<MappedFile>(new MappedFile(data, size));
  }
  ~MappedFile() {
    if (data_) munmap(data_, size_);
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  absl::Span<const uint8_t> bytes() const { return {static_cast<const uint8_t*>(data_), size_}; }

 private:
  MappedFile(void* data, size_t size) : data_(data), size_(size) {}
  void* data_;
  size_t size_;
};

ModelTensors::ModelTensors(std::string model_path) : model_path_(std::move(model_path)) {}
ModelTensors::~ModelTensors() = default;

absl::StatusOr<std::unique_ptr<ModelTensors>> ModelTensors::Open(const std::string& model_path) {
  std::unique_ptr<ModelTensors> model(new ModelTensors(model_path));
  const std::string index = model_path + "/model.safetensors.index.json";
  std::error_code error;
  if (std::filesystem::exists(index, error)) {
    TIDAL_RETURN_IF_ERROR(model->AddShards(index));
  } else {
    TIDAL_RETURN_IF_ERROR(model->AddFile("model.safetensors"));
  }
  return model;
}

absl::Status ModelTensors::AddFile(const std::string& file_name) {
  const std::string path = model_path_ + "/" + file_name;
  TIDAL_ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> file, MappedFile::Open(path));
  TIDAL_ASSIGN_OR_RETURN(TensorMap tensors, ParseSafetensors(file->bytes(), path));
  for (auto& [name, tensor] : tensors) {
    if (!tensors_.emplace(name, std::move(tensor)).second) {
      return absl::DataLossError(absl::StrCat(path, ": tensor ", name, ": is in another file too"));
    }
  }
  files_.push_back(std::move(file));
  return absl::OkStatus();
}

absl::Status ModelTensors::AddShards(const std::string& index_path) {
  TIDAL_ASSIGN_OR_RETURN(const JsonFile index, JsonFile::Read(index_path));
  TIDAL_ASSIGN_OR_RETURN(const JsonFile weight_map, index.Object("weight_map"));
  std::set<std::string> files;
  for (const auto& [tensor, file] : weight_map.object().items()) {
    TIDAL_ASSIGN_OR_RETURN(const std::string name, weight_map.String(tensor));
    // Only files of this folder.
    if (name.empty() || name.find('/') != std::string::npos || name[0] == '.') {
      return weight_map.Error(tensor, "a file name");
    }
    files.insert(name);
  }
  for (const std::string& file : files) TIDAL_RETURN_IF_ERROR(AddFile(file));
  for (const auto& [tensor, file] : weight_map.object().items()) {
    if (!tensors_.contains(tensor)) {
      return absl::DataLossError(
          absl::StrCat(index_path, ": weight_map: tensor ", tensor, " is in none of the files"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<const TensorView*> ModelTensors::Find(absl::string_view name,
                                                     absl::Span<const int64_t> shape) const {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) {
    return absl::NotFoundError(absl::StrCat(model_path_, ": tensor ", name, ": is missing"));
  }
  if (shape != absl::MakeConstSpan(it->second.shape)) {
    return absl::InvalidArgumentError(
        absl::StrCat(model_path_, ": tensor ", name, ": shape must be ", ShapeString(shape),
                     " by config.json, got ", ShapeString(it->second.shape)));
  }
  return &it->second;
}

}  // namespace tidal
