#include "engine/graph_buckets.h"

#include <set>

#include "gtest/gtest.h"

namespace tidal {
namespace {

TEST(GraphBucketsTest, RowsFitAndWasteLittle) {
  std::set<int32_t> buckets;
  for (int32_t rows = 1; rows <= 256; ++rows) {
    const int32_t bucket = BucketRows(rows, 256);
    EXPECT_GE(bucket, rows);
    EXPECT_LE(bucket, 256);
    if (rows > 8) {
      EXPECT_LE(bucket - rows, rows / 4) << rows;
    }
    EXPECT_EQ(BucketRows(bucket, 256), bucket);
    buckets.insert(bucket);
  }
  EXPECT_LE(buckets.size(), 24u);
  EXPECT_EQ(BucketRows(5, 6), 6);  // no more rows than there may be
  EXPECT_EQ(BucketRows(100, 100), 100);
}

TEST(GraphBucketsTest, SizesArePowersOfTwoUpToTheMost) {
  EXPECT_EQ(BucketSize(0, 64, 1000), 0);
  EXPECT_EQ(BucketSize(1, 64, 1000), 64);
  EXPECT_EQ(BucketSize(64, 64, 1000), 64);
  EXPECT_EQ(BucketSize(65, 64, 1000), 128);
  EXPECT_EQ(BucketSize(513, 64, 1000), 1000);
  EXPECT_EQ(BucketSize(20, 64, 20), 20);
  EXPECT_EQ(BucketSize(2000000000, 64, 2100000000), 2100000000);
}

TEST(GraphBucketsTest, KeysDifferInEveryPart) {
  std::set<GraphKey> keys;
  for (int32_t rows : {1, 2, 65536}) {
    for (int32_t stride : {64, 128, 1 << 20}) {
      for (int32_t budget : {0, 256, 1 << 20}) keys.insert(MakeGraphKey(rows, stride, budget));
    }
  }
  EXPECT_EQ(keys.size(), 27u);
  EXPECT_EQ(keys.count(0), 0u);
}

}  // namespace
}  // namespace tidal
