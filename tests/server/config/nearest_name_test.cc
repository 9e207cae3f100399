#include "server/config/nearest_name.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tidal {
namespace {

const std::vector<std::string> kNames = {"host", "http_port", "max_num_seqs", "max_model_len"};

TEST(NearestNameTest, NamesWhatWasMeant) {
  EXPECT_EQ(DidYouMean("max_num_seq", kNames), "; did you mean max_num_seqs?");
  EXPECT_EQ(DidYouMean("max_model_length", kNames), "; did you mean max_model_len?");
  EXPECT_EQ(DidYouMean("http-port", kNames), "; did you mean http_port?");
  EXPECT_EQ(DidYouMean("hots", {"host", "hot"}), "; did you mean hot?");
}

TEST(NearestNameTest, IsSilentWhereNothingIsNear) {
  EXPECT_EQ(DidYouMean("gpu", kNames), "");
  EXPECT_EQ(DidYouMean("", kNames), "");
  EXPECT_EQ(DidYouMean("host", {}), "");
  EXPECT_EQ(DidYouMean(std::string(1 << 20, 'h'), kNames), "");
}

}  // namespace
}  // namespace tidal
