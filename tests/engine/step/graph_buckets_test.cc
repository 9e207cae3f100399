#include "engine/step/graph_buckets.h"

#include <set>
#include <vector>

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

TEST(GraphBucketsTest, AllAreListed) {
  for (const int32_t most : {1, 2, 3, 7, 8, 9, 100, 256}) {
    const std::vector<int32_t> buckets = RowBuckets(most);
    std::set<int32_t> all;
    for (int32_t rows = 1; rows <= most; ++rows) all.insert(BucketRows(rows, most));
    EXPECT_EQ(std::set<int32_t>(buckets.begin(), buckets.end()), all) << most;
    EXPECT_EQ(buckets.size(), all.size()) << most;
    EXPECT_EQ(buckets.back(), most);
  }
}

TEST(GraphBucketsTest, KeysDifferInEveryPart) {
  std::set<GraphKey> keys;
  for (int32_t rows : {1, 2, 3, 65536}) {
    for (bool sparse : {false, true}) keys.insert(MakeGraphKey(rows, sparse));
  }
  EXPECT_EQ(keys.size(), 8u);
  EXPECT_EQ(keys.count(0), 0u);
}

}  // namespace
}  // namespace tidal
