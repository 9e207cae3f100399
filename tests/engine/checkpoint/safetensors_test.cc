#include "engine/checkpoint/safetensors.h"

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/safetensors_writer.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The tensors' bytes are those of `bytes`.
absl::StatusOr<TensorMap> ParseTensors(const std::string& bytes) {
  return ParseSafetensors({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, "f");
}

std::vector<float> ReadAll(const TensorView& tensor, size_t count) {
  std::vector<bfloat16> values(count);
  EXPECT_TRUE(ReadAsBFloat16(tensor, absl::MakeSpan(values)).ok());
  std::vector<float> floats;
  for (bfloat16 value : values) floats.push_back(ToFloat(value));
  return floats;
}

TEST(SafetensorsTest, ReadsEveryFloatType) {
  const std::vector<float> values = {0, -1.5f, 2, 0.25f, 1024, -0.0625f};
  const std::string bytes = SafetensorsBytes(
      {{"a", "BF16", {2, 3}, values}, {"b", "F16", {6}, values}, {"c", "F32", {3, 1, 2}, values}});
  const auto tensors = ParseTensors(bytes);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->size(), 3u);
  EXPECT_THAT(tensors->at("a").shape, ElementsAre(2, 3));
  for (const char* name : {"a", "b", "c"}) {
    EXPECT_EQ(ReadAll(tensors->at(name), 6), values) << name;
  }
}

TEST(SafetensorsTest, HalfExtremes) {
  // Smallest subnormal, largest normal, infinity, NaN, minus zero.
  const std::string data("\x01\x00\xff\x7b\x00\x7c\x01\x7e\x00\x80", 10);
  const std::string bytes =
      SafetensorsBytes(R"({"a":{"dtype":"F16","shape":[5],"data_offsets":[0,10]}})", data);
  const auto tensors = ParseTensors(bytes);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  const std::vector<float> values = ReadAll(tensors->at("a"), 5);
  EXPECT_EQ(values[0], 5.9604644775390625e-08f);
  EXPECT_EQ(values[1], 65536);  // 65504 in bf16
  EXPECT_EQ(values[2], std::numeric_limits<float>::infinity());
  EXPECT_TRUE(values[3] != values[3]);
  EXPECT_TRUE(std::signbit(values[4]) && values[4] == 0);
}

TEST(SafetensorsTest, EmptyAndScalarTensors) {
  const std::string bytes = SafetensorsBytes(
      {{"empty", "F32", {0, 7}, {}}, {"scalar", "F32", {}, {3}}, {"none", "BF16", {4, 0}, {}}});
  const auto tensors = ParseTensors(bytes);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_TRUE(ReadAll(tensors->at("empty"), 0).empty());
  EXPECT_EQ(ReadAll(tensors->at("scalar"), 1), std::vector<float>{3});
}

TEST(SafetensorsTest, OtherTypesAreListedNotRead) {
  const std::string bytes =
      SafetensorsBytes(R"({"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})", "12345678");
  const auto tensors = ParseTensors(bytes);
  ASSERT_TRUE(tensors.ok());
  std::vector<bfloat16> out(1);
  const absl::Status status = ReadAsBFloat16(tensors->at("a"), absl::MakeSpan(out));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("got I64"));
}

// In linear time: what is quadratic in the tensors takes minutes here.
TEST(SafetensorsTest, ManyTensors) {
  constexpr int kTensors = 100'000;
  std::string header = "{";
  for (int i = 0; i < kTensors; ++i) {
    absl::StrAppend(&header, i == 0 ? "" : ",", "\"layers.", i,
                    R"(":{"dtype":"F32","shape":[1],"data_offsets":[)", 4 * i, ",", 4 * (i + 1),
                    "]}");
  }
  const auto tensors = ParseTensors(SafetensorsBytes(header + "}", std::string(4 * kTensors, 'x')));
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_EQ(tensors->size(), kTensors);
}

struct HostileCase {
  const char* header;
  size_t data_bytes;
  const char* message;
};

class HostileHeaderTest : public ::testing::TestWithParam<HostileCase> {};

TEST_P(HostileHeaderTest, IsRefusedWithItsReason) {
  const auto tensors =
      ParseTensors(SafetensorsBytes(GetParam().header, std::string(GetParam().data_bytes, 'x')));
  EXPECT_EQ(tensors.status().code(), absl::StatusCode::kDataLoss) << tensors.status();
  EXPECT_THAT(std::string(tensors.status().message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Headers, HostileHeaderTest,
    ::testing::Values(
        HostileCase{"", 0, "must be a JSON object"}, HostileCase{"[]", 0, "must be a JSON object"},
        HostileCase{"{", 0, "must be a JSON object"},
        HostileCase{"{\"a\":1}", 0, "tensor a: must be an object"},
        HostileCase{"{\"a\":[[[[[[[1]]]]]]]}", 0, "nested too deeply"},
        HostileCase{R"({"a":{"dtype":"F32","shape":[1]}})", 4, "data_offsets: must be"},
        HostileCase{R"({"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}})", 4, "dtype: must"},
        HostileCase{R"({"a":{"dtype":4,"shape":[1],"data_offsets":[0,4]}})", 4, "dtype: must"},
        HostileCase{R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "shape: must"},
        HostileCase{R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", 4, "shape: must"},
        HostileCase{R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4,
                    "shape: must be a list of at most 8"},
        HostileCase{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4,
                    "data_offsets: hold 4 bytes, but F32 [2] needs another number"},
        HostileCase{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4,
                    "data_offsets: must be [begin, end]"},
        HostileCase{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4,
                    "is the file truncated?"},
        HostileCase{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}})", 4,
                    "data_offsets: must be"},
        HostileCase{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 8,
                    "data_offsets: must be"},
        // Products that overflow 64 bits, once to exactly the stored size.
        HostileCase{R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],
                       "data_offsets":[0,0]}})",
                    0, "needs another number"},
        HostileCase{R"({"a":{"dtype":"BF16","shape":[9223372036854775807,9223372036854775807],
                       "data_offsets":[0,2]}})",
                    2, "needs another number"},
        HostileCase{R"({"a":{"dtype":"F32","shape":[18446744073709551615],
                       "data_offsets":[0,4]}})",
                    4, "shape: must"},
        HostileCase{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                       "b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
                    6, "tensor b: data_offsets: overlap another tensor"},
        HostileCase{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                       "b":{"dtype":"F32","shape":[1],"data_offsets":[6,10]}})",
                    10, "tensor b: data_offsets: leave a hole"},
        HostileCase{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 5,
                    "1 bytes after the last tensor"},
        HostileCase{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                       "a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                    4, "tensor a: appears twice"}));

TEST(SafetensorsTest, HeaderSizeIsChecked) {
  EXPECT_THAT(std::string(ParseTensors("").status().message()), HasSubstr("got 0"));
  EXPECT_THAT(std::string(ParseTensors("1234567").status().message()), HasSubstr("got 7"));
  std::string bytes = SafetensorsBytes("{}", "");
  EXPECT_TRUE(ParseTensors(bytes).ok());
  bytes[0] = 3;  // one byte more than there is
  EXPECT_THAT(std::string(ParseTensors(bytes).status().message()),
              HasSubstr("must be at most 2, got 3"));
  for (int i = 0; i < 8; ++i) bytes[i] = '\xff';
  EXPECT_EQ(ParseTensors(bytes).status().code(), absl::StatusCode::kDataLoss);
}

TEST(SafetensorsTest, EveryTruncationIsRefused) {
  const std::string bytes =
      SafetensorsBytes({{"a", "BF16", {2, 3}, std::vector<float>(6, 1)}, {"b", "F32", {1}, {2}}});
  ASSERT_TRUE(ParseTensors(bytes).ok());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(ParseTensors(bytes.substr(0, size)).status().code(), absl::StatusCode::kDataLoss)
        << size;
  }
}

TEST(SafetensorsTest, DamagedBytesNeverCrash) {
  const std::string good =
      SafetensorsBytes({{"a", "BF16", {2, 3}, std::vector<float>(6, 1)}, {"b", "F32", {1}, {2}}});
  std::mt19937 random(7);
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = good;
    for (int i = 0; i <= static_cast<int>(random() % 4); ++i) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    accepted += ParseTensors(bytes).ok();
  }
  EXPECT_GT(accepted, 0);  // damage in the data or in the metadata
  EXPECT_LT(accepted, 20000);
}

TEST(ModelTensorsTest, FindsTensorsByNameAndShape) {
  const TempFolder folder;
  WriteFile(folder.path() + "/model.safetensors", SafetensorsBytes({{"w", "F32", {2}, {1, 2}}}));
  const auto model = ModelTensors::Open(folder.path());
  ASSERT_TRUE(model.ok()) << model.status();
  const auto tensor = (*model)->Find("w", {2});
  ASSERT_TRUE(tensor.ok());
  EXPECT_EQ(ReadAll(**tensor, 2), (std::vector<float>{1, 2}));
  EXPECT_EQ((*model)->Find("v", {2}).status().code(), absl::StatusCode::kNotFound);
  const absl::Status wrong = (*model)->Find("w", {1, 2}).status();
  EXPECT_EQ(wrong.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(wrong.message()),
              HasSubstr("tensor w: shape must be [1, 2] by config.json, got [2]"));
}

class ShardsTest : public ::testing::Test {
 protected:
  ShardsTest() {
    WriteFile(Path("a.safetensors"), SafetensorsBytes({{"x", "F32", {1}, {1}}}));
    WriteFile(Path("b.safetensors"), SafetensorsBytes({{"y", "F32", {1}, {2}}}));
  }
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  absl::StatusOr<std::unique_ptr<ModelTensors>> Open(const std::string& index) {
    WriteFile(Path("model.safetensors.index.json"), index);
    return ModelTensors::Open(folder_.path());
  }
  std::string Error(const std::string& index) {
    return std::string(Open(index).status().message());
  }

  TempFolder folder_;
};

TEST_F(ShardsTest, AllFilesOfTheIndexAreRead) {
  const auto model = Open(R"({"weight_map":{"x":"a.safetensors","y":"b.safetensors"}})");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_TRUE((*model)->Has("x"));
  EXPECT_TRUE((*model)->Has("y"));
  EXPECT_FALSE((*model)->Has("z"));
}

TEST_F(ShardsTest, BadIndexes) {
  EXPECT_THAT(Error("{}"), HasSubstr("weight_map: must be an object, is missing"));
  EXPECT_THAT(Error(R"({"weight_map":{"x":1}})"), HasSubstr("x: must be a string, got 1"));
  EXPECT_THAT(Error(R"({"weight_map":{"x":"../a.safetensors"}})"),
              HasSubstr("must be a file name"));
  EXPECT_THAT(Error(R"({"weight_map":{"x":"/etc/passwd"}})"), HasSubstr("must be a file name"));
  EXPECT_THAT(Error(R"({"weight_map":{"x":"c.safetensors"}})"),
              HasSubstr("c.safetensors: No such"));
  EXPECT_THAT(Error(R"({"weight_map":{"z":"a.safetensors"}})"),
              HasSubstr("tensor z is in none of the files"));
  WriteFile(Path("b.safetensors"), SafetensorsBytes({{"x", "F32", {1}, {2}}}));
  EXPECT_THAT(Error(R"({"weight_map":{"x":"a.safetensors","x2":"b.safetensors"}})"),
              HasSubstr("tensor x: is in another file too"));
}

TEST(ModelTensorsTest, MissingFiles) {
  EXPECT_EQ(ModelTensors::Open("models/none").status().code(), absl::StatusCode::kNotFound);
  const TempFolder folder;
  const absl::Status status = ModelTensors::Open(folder.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/model.safetensors: No such file"));
}

}  // namespace
}  // namespace tidal
