#include "ckpt/row_parts.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

TEST(RowParts, rows_are_covered_once_in_order) {
  for (const int64_t elements : {1, 7, 12, 1000}) {
    int64_t next = 0;
    for (const RowRange part : row_parts({5, 3, 2}, elements)) {
      EXPECT_EQ(part.begin, next);
      EXPECT_GT(part.size(), 0);
      EXPECT_LE(part.size(), std::max<int64_t>(1, elements / 6));
      next = part.end;
    }
    EXPECT_EQ(next, 5);
  }
}

TEST(RowParts, scalars_and_tensors_without_elements_are_one_part) {
  ASSERT_EQ(row_parts({}, 8).size(), 1);
  EXPECT_EQ(row_parts({}, 8)[0].size(), 1);
  EXPECT_EQ(row_parts({0, 4}, 8).size(), 1);
  ASSERT_EQ(row_parts({int64_t{1} << 62, 0}, 8).size(), 1);  // a file of a few bytes may say so
  EXPECT_EQ(row_parts({int64_t{1} << 62, 0}, 8)[0].size(), int64_t{1} << 62);
}

TEST(RowParts, parts_take_no_memory) {
  const auto parts = row_parts({int64_t{1} << 60, 3}, 1);
  ASSERT_EQ(parts.size(), int64_t{1} << 60);
  EXPECT_EQ(parts[parts.size() - 1].end, int64_t{1} << 60);
  EXPECT_EQ((*parts.begin()).end, 1);
}

}  // namespace
}  // namespace orrery
