#include "model/hash_text.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace orrery {

TEST(HashText, shape_padding_and_variance) {
  const HashText text(8, 1024);
  const at::Tensor embedding = text.encode({"push the red block", "", "lift"});
  EXPECT_EQ(embedding.sizes(), (at::IntArrayRef{3, 8, 1024}));
  EXPECT_EQ(embedding.scalar_type(), at::kFloat);
  EXPECT_EQ(embedding[0].slice(0, 4).abs().sum().item<double>(), 0);
  EXPECT_EQ(embedding[1].abs().sum().item<double>(), 0);
  const at::Tensor words = embedding[0].slice(0, 0, 4);
  EXPECT_NEAR(words.square().mean().item<double>(), 1, 0.05);
  EXPECT_NEAR(words.mean().item<double>(), 0, 0.05);
}

TEST(HashText, same_words_same_vectors_whatever_case_and_punctuation) {
  const HashText text(8, 16);
  const at::Tensor embedding =
      text.encode({"push the red block", "Push, the RED -- block!", "push the red blocks"});
  EXPECT_TRUE(at::equal(embedding[0], embedding[1]));
  EXPECT_TRUE(at::equal(embedding[0].slice(0, 0, 3), embedding[2].slice(0, 0, 3)));
  EXPECT_FALSE(at::equal(embedding[0], embedding[2]));
}

TEST(HashText, order_matters_and_each_prompt_stands_alone) {
  const HashText text(4, 16);
  EXPECT_FALSE(at::equal(text.encode({"left right"}), text.encode({"right left"})));
  EXPECT_TRUE(at::equal(text.encode({"a b", "c d"})[1], text.encode({"c d"})[0]));
}

TEST(HashText, long_prompts_are_cut) {
  const HashText text(2, 16);
  EXPECT_TRUE(at::equal(text.encode({"one two three"}), text.encode({"one two"})));
}

TEST(HashText, other_words_are_far_apart) {
  const at::Tensor words =
      HashText(1, 256).encode({"left", "right", "lift", "red", "blue", "été"}).squeeze(1);
  const at::Tensor places = HashText(1, 256).encode({"left"}).squeeze(1);
  for (int64_t i = 0; i < words.size(0); ++i)
    for (int64_t j = 0; j < i; ++j) EXPECT_GT((words[i] - words[j]).square().mean().item<double>(), 0.5);
}

// Models that were trained with this embedding depend on these numbers. They come from a separate Philox and
// FNV-1a in Python.
TEST(HashText, values_never_change) {
  const at::Tensor embedding = HashText(2, 3).encode({"red block"})[0];
  const std::array<float, 6> expected = {0x1.120cacp-1f,  0x1.191daap+0f,  -0x1.c0f49cp-4f,
                                         -0x1.8d7706p+0f, -0x1.ca4adap-2f, 0x1.59909p-4f};
  for (int64_t i = 0; i < 6; ++i) EXPECT_EQ(embedding.const_data_ptr<float>()[i], expected[i]) << i;
}

TEST(HashText, refuses_impossible_sizes) {
  EXPECT_THROW(HashText(0, 16), Error);
  EXPECT_THROW(HashText(16, -1), Error);
  EXPECT_THROW(HashText(int64_t{1} << 40, 16), Error);
}

}  // namespace orrery
