#include "ops/attention_workspace.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

AttentionParts self_attention(int64_t batch, int64_t tokens, int64_t heads) {
  return deterministic_parts({batch, tokens, heads, 128}, {batch, tokens, heads, 128});
}

TEST(DeterministicAttention, takes_heads_while_their_score_matrices_fit) {
  const AttentionParts parts = self_attention(2, 37440, 16);
  EXPECT_EQ(parts.entries, 1);
  EXPECT_EQ(parts.heads, 3);
  EXPECT_EQ(parts.bytes, 3 * int64_t{2} * 37440 * 37504);  // keys in whole 128
  EXPECT_LE(parts.bytes, kMaxDeterministicBytes);
}

TEST(DeterministicAttention, takes_one_head_that_needs_more) {
  const AttentionParts parts = self_attention(1, 84480, 8);
  EXPECT_EQ(parts.heads, 1);
  EXPECT_EQ(parts.bytes, int64_t{2} * 84480 * 84480);
}

TEST(DeterministicAttention, takes_whole_entries_where_all_their_heads_fit) {
  AttentionParts parts = self_attention(64, 1024, 16);
  EXPECT_EQ(parts.entries, 64);
  EXPECT_EQ(parts.heads, 16);
  EXPECT_EQ(parts.bytes, int64_t{2} * 64 * 16 * 1024 * 1024);
  parts = self_attention(5, 8192, 16);
  EXPECT_EQ(parts.entries, 4);
  EXPECT_EQ(parts.heads, 16);
  parts = deterministic_parts({1, 100, 2, 64}, {1, 200, 2, 64});
  EXPECT_EQ(parts.bytes, 2 * 2 * 128 * 256);
}

TEST(AttentionWorkspace, is_sums_of_dq_and_numbers_of_its_rows) {
  EXPECT_EQ(tiled_backward_bytes({2, 197, 3, 128}), 2 * 3 * 256 * (128 + 2) * 4);  // in whole 64
  EXPECT_EQ(tiled_backward_bytes({1, 84480, 8, 128}), int64_t{8} * 84480 * 130 * 4);
  EXPECT_EQ(cudnn_backward_bytes({2, 197, 3, 64}), 2 * 3 * 197 * (64 + 1) * 4);
}

}  // namespace
}  // namespace orrery
