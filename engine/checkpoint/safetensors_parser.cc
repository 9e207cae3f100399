// The header of a safetensors file, from bytes that may be hostile.
#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status_macros.h"
#include "engine/checkpoint/safetensors.h"

namespace tidal {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100 << 20;  // the format's own limit
constexpr int kMaxDepth = 4;                     // the format needs 3
constexpr size_t kMaxDims = 8;

struct ElementType {
  const char* name;
  TensorType type;
  uint64_t bytes;
};
constexpr ElementType kElementTypes[] = {
    {"BF16", TensorType::kBF16, 2},     {"F16", TensorType::kF16, 2},
    {"F32", TensorType::kF32, 4},       {"F64", TensorType::kOther, 8},
    {"I64", TensorType::kOther, 8},     {"I32", TensorType::kOther, 4},
    {"I16", TensorType::kOther, 2},     {"I8", TensorType::kOther, 1},
    {"U64", TensorType::kOther, 8},     {"U32", TensorType::kOther, 4},
    {"U16", TensorType::kOther, 2},     {"U8", TensorType::kOther, 1},
    {"BOOL", TensorType::kOther, 1},    {"F8_E4M3", TensorType::kOther, 1},
    {"F8_E5M2", TensorType::kOther, 1},
};

absl::Status Bad(const std::string& file, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(file, ": ", what));
}

// What a tree no longer shows: how deep the text was, and whether it named a tensor twice (the tree
// keeps the last one). A callback of the parser could see both, but with one the parser looks
// through all members again after each of them.
class HeaderCheck : public Json::json_sax_t {
 public:
  bool too_deep() const { return too_deep_; }
  const std::string& duplicate() const { return duplicate_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(Json::number_integer_t) override { return true; }
  bool number_unsigned(Json::number_unsigned_t) override { return true; }
  bool number_float(Json::number_float_t, const std::string&) override { return true; }
  bool string(std::string&) override { return true; }
  bool binary(Json::binary_t&) override { return true; }
  bool start_object(size_t) override { return Enter(); }
  bool end_object() override { return Leave(); }
  bool start_array(size_t) override { return Enter(); }
  bool end_array() override { return Leave(); }
  bool key(std::string& name) override {
    if (depth_ == 1 && !names_.insert(name).second) duplicate_ = name;
    return true;
  }
  bool parse_error(size_t, const std::string&, const Json::exception&) override { return false; }

 private:
  bool Enter() {
    too_deep_ |= ++depth_ > kMaxDepth;
    return !too_deep_;
  }
  bool Leave() {
    --depth_;
    return true;
  }

  int depth_ = 0;
  bool too_deep_ = false;
  absl::flat_hash_set<std::string> names_;  // at depth 1
  std::string duplicate_;
};

absl::StatusOr<Json> ParseHeader(absl::string_view text, const std::string& file) {
  HeaderCheck check;
  const bool valid = Json::sax_parse(text.begin(), text.end(), &check);
  if (check.too_deep()) return Bad(file, "header: is nested too deeply");
  Json header =
      valid ? Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false) : Json();
  if (!header.is_object()) return Bad(file, "header: must be a JSON object");
  if (!check.duplicate().empty()) {
    return Bad(file, absl::StrCat("tensor ", check.duplicate(), ": appears twice"));
  }
  return header;
}

// A list of integers in [0, max]; false when it is anything else.
bool ReadList(const Json& object, const char* field, uint64_t max, std::vector<int64_t>* out) {
  const auto it = object.find(field);
  if (it == object.end() || !it->is_array()) return false;
  for (const Json& item : *it) {
    if (!item.is_number_unsigned() || item.get<uint64_t>() > max) return false;
    out->push_back(static_cast<int64_t>(item.get<uint64_t>()));
  }
  return true;
}

// Elements times element size; false when it overflows what a file can hold.
bool TensorBytes(const std::vector<int64_t>& shape, uint64_t element_bytes, uint64_t* out) {
  uint64_t bytes = element_bytes;
  for (int64_t dim : shape) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(dim), &bytes)) return false;
  }
  *out = bytes;
  return true;
}

absl::StatusOr<TensorView> ParseTensor(const Json& object, absl::Span<const uint8_t> data,
                                       const std::string& where) {
  if (!object.is_object()) return absl::DataLossError(absl::StrCat(where, "must be an object"));
  TensorView tensor;
  const auto dtype = object.find("dtype");
  const ElementType* element = nullptr;
  if (dtype != object.end() && dtype->is_string()) {
    tensor.type_name = dtype->get<std::string>();
    for (const ElementType& known : kElementTypes) {
      if (tensor.type_name == known.name) element = &known;
    }
  }
  if (!element) {
    return absl::DataLossError(absl::StrCat(where, "dtype: must be a known element type"));
  }
  tensor.type = element->type;
  constexpr uint64_t kMaxDim = std::numeric_limits<int64_t>::max();
  if (!ReadList(object, "shape", kMaxDim, &tensor.shape) || tensor.shape.size() > kMaxDims) {
    return absl::DataLossError(
        absl::StrCat(where, "shape: must be a list of at most ", kMaxDims, " sizes"));
  }
  std::vector<int64_t> offsets;
  if (!ReadList(object, "data_offsets", data.size(), &offsets) || offsets.size() != 2 ||
      offsets[0] > offsets[1]) {
    return absl::DataLossError(
        absl::StrCat(where, "data_offsets: must be [begin, end] within the file's ", data.size(),
                     " bytes of data (is the file truncated?)"));
  }
  uint64_t bytes = 0;
  const auto stored = static_cast<uint64_t>(offsets[1] - offsets[0]);
  if (!TensorBytes(tensor.shape, element->bytes, &bytes) || bytes != stored) {
    return absl::DataLossError(absl::StrCat(where, "data_offsets: hold ", stored, " bytes, but ",
                                            tensor.type_name, " ", ShapeString(tensor.shape),
                                            " needs another number"));
  }
  tensor.bytes = data.subspan(offsets[0], stored);
  return tensor;
}

// The tensors must cover the data without holes or overlaps.
absl::Status CheckLayout(const TensorMap& tensors, absl::Span<const uint8_t> data,
                         const std::string& file) {
  std::vector<std::pair<absl::Span<const uint8_t>, const std::string*>> ranges;
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.bytes.empty()) ranges.emplace_back(tensor.bytes, &name);
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const auto& a, const auto& b) { return a.first.data() < b.first.data(); });
  const uint8_t* end = data.data();
  for (const auto& [range, name] : ranges) {
    if (range.data() != end) {
      return Bad(file, absl::StrCat("tensor ", *name, ": data_offsets: ",
                                    range.data() < end ? "overlap another tensor"
                                                       : "leave a hole before it"));
    }
    end = range.data() + range.size();
  }
  if (end != data.data() + data.size()) {
    return Bad(file, absl::StrCat(data.data() + data.size() - end,
                                  " bytes after the last tensor belong to none"));
  }
  return absl::OkStatus();
}

}  // namespace

std::string ShapeString(absl::Span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::StatusOr<TensorMap> ParseSafetensors(absl::Span<const uint8_t> bytes,
                                           const std::string& file) {
  if (bytes.size() < 8) {
    return Bad(file, absl::StrCat("must have a header of at least 8 bytes, got ", bytes.size()));
  }
  uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i) header_bytes = header_bytes << 8 | bytes[i];
  if (header_bytes > kMaxHeaderBytes || header_bytes > bytes.size() - 8) {
    return Bad(file, absl::StrCat("header size: must be at most ",
                                  std::min<uint64_t>(kMaxHeaderBytes, bytes.size() - 8), ", got ",
                                  header_bytes));
  }
  const absl::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, header_bytes);
  TIDAL_ASSIGN_OR_RETURN(const Json header, ParseHeader(text, file));
  const absl::Span<const uint8_t> data = bytes.subspan(8 + header_bytes);
  TensorMap tensors;
  for (const auto& [name, object] : header.items()) {
    if (name == "__metadata__") continue;
    TIDAL_ASSIGN_OR_RETURN(TensorView tensor,
                           ParseTensor(object, data, absl::StrCat(file, ": tensor ", name, ": ")));
    tensors.emplace(name, std::move(tensor));
  }
  TIDAL_RETURN_IF_ERROR(CheckLayout(tensors, data, file));
  return tensors;
}

}  // namespace tidal
