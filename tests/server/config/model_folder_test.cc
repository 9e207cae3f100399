#include "server/config/model_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace tidal {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

class ModelFolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) /
              ::testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string Add(const std::string& name, const std::string& text = "{}") const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }
  std::string Refusal(const std::string& path, bool weights = true) const {
    const absl::Status status = CheckModelFolder(path, weights);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << path;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("model: must be a model folder, got " + path));
    return std::string(status.message());
  }

  fs::path folder_;
};

TEST_F(ModelFolderTest, WhatMayBeOneIsLeftToTheLoader) {
  EXPECT_TRUE(CheckModelFolder(folder_, true).ok());
  Add("config.json");
  Add("pytorch_model.bin");
  EXPECT_TRUE(CheckModelFolder(folder_, false).ok()) << "no weights are asked for";
  Add("model.safetensors.index.json");
  EXPECT_TRUE(CheckModelFolder(folder_, true).ok()) << "both forms of weights";
}

TEST_F(ModelFolderTest, AnIdOfAHub) {
  for (const char* id : {"meta-llama/Llama-3.1-8B", "org/name_2"}) {
    EXPECT_THAT(Refusal(id), HasSubstr("hf download " + std::string(id) + " --local-dir FOLDER"));
  }
  for (const std::string& path :
       {std::string("/no/such"), std::string("a/b/c"), std::string("./none"),
        std::string("../none"), std::string("none"), std::string("a//b"), std::string("")}) {
    EXPECT_THAT(Refusal(path), testing::EndsWith(", which does not exist"));
  }
}

TEST_F(ModelFolderTest, AFileIsNamedForWhatItIs) {
  EXPECT_THAT(Refusal(Add("a.gguf", "?")), HasSubstr("a GGUF file; GGUF is not supported; give"));
  EXPECT_THAT(Refusal(Add("blob", "GGUF....")), HasSubstr("a GGUF file"));
  EXPECT_THAT(Refusal(Add("model.safetensors")),
              HasSubstr("one file of weights; give the folder that has it"));
  EXPECT_THAT(Refusal(Add("pytorch_model.bin")),
              AllOf(HasSubstr("PyTorch's weights; "), HasSubstr("save_pretrained(NEW_FOLDER)")));
  EXPECT_THAT(Refusal(Add("notes.txt")), testing::EndsWith("notes.txt, a file"));
  EXPECT_THAT(Refusal("/dev/null"), HasSubstr("neither folder nor file"));
}

TEST_F(ModelFolderTest, AFolderOfOtherWeights) {
  Add("config.json");
  Add("model-Q4_K_M.gguf");
  EXPECT_THAT(Refusal(folder_), HasSubstr("which has model-Q4_K_M.gguf; GGUF is not supported"));
  fs::remove(folder_ / "model-Q4_K_M.gguf");
  Add("pytorch_model-00001-of-00002.bin");
  EXPECT_THAT(Refusal(folder_),
              HasSubstr("PyTorch's weights (pytorch_model-00001-of-00002.bin); convert them"));
}

TEST_F(ModelFolderTest, AnAdapter) {
  Add("adapter_config.json");
  Add("adapter_model.safetensors");
  EXPECT_THAT(Refusal(folder_, false), HasSubstr("an adapter (PEFT)"));
  EXPECT_THAT(Refusal(folder_), HasSubstr("merge it into its base model"));
}

TEST_F(ModelFolderTest, AHubsCache) {
  fs::create_directories(folder_ / "snapshots");
  EXPECT_THAT(Refusal(folder_), HasSubstr("a hub's cache; give the folder in snapshots/"));
}

}  // namespace
}  // namespace tidal
