#include "ckpt/weight_diff.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>

#include "ckpt/select_weights.h"
#include "twin.h"

namespace orrery {
namespace {

using testing::ElementsAre;

using Tensors = std::map<std::string, at::Tensor>;

std::unique_ptr<WeightFile> file_of(const std::filesystem::path& path, const Tensors& tensors) {
  save_safetensors(path, tensors);
  return open_weights(path);
}

at::Tensor floats(const std::vector<float>& values) {
  return at::tensor(values, at::kFloat);
}

WeightDiff diff(const Tensors& a, const Tensors& b) {
  const test::ScratchFolder folder;
  return diff_weights(*file_of(folder / "a", a), *file_of(folder / "b", b));
}

TEST(WeightDiff, equal_bits_are_the_same_even_where_they_are_nan) {
  const Tensors one{{"a", floats({1, NAN, -0.0f})}, {"empty", at::zeros({0})}};
  EXPECT_TRUE(diff(one, one).same());
}

TEST(WeightDiff, minus_zero_differs_from_zero) {
  const WeightDiff found = diff({{"a", floats({0, 1})}}, {{"a", floats({-0.0f, 1})}});
  ASSERT_EQ(found.tensors.size(), 1u);
  EXPECT_EQ(found.tensors[0].differing, 1);
  EXPECT_EQ(found.tensors[0].relative_l2, 0);
}

TEST(WeightDiff, worst_tensors_come_first_with_their_figures) {
  const Tensors a{{"x", floats({3, 4})}, {"y", floats({3, 4})}, {"z", floats({0, 0})}, {"same", floats({1})}};
  const Tensors b{
      {"x", floats({3, 4.5})}, {"y", floats({3, 9})}, {"z", floats({0, 1})}, {"same", floats({1})}};
  const WeightDiff found = diff(a, b);
  ASSERT_EQ(found.tensors.size(), 3u);
  EXPECT_EQ(found.equal, 1);
  EXPECT_EQ(found.tensors[0].name, "z");
  EXPECT_TRUE(std::isinf(found.tensors[0].relative_l2));
  EXPECT_EQ(found.tensors[1].name, "y");
  EXPECT_DOUBLE_EQ(found.tensors[1].relative_l2, 1);
  EXPECT_DOUBLE_EQ(found.tensors[1].max_abs, 5);
  EXPECT_DOUBLE_EQ(found.tensors[2].relative_l2, 0.1);
  EXPECT_EQ(found.tensors[2].differing, 1);
}

TEST(WeightDiff, names_shapes_and_dtypes_are_told_apart) {
  const WeightDiff found = diff(
      {{"a", floats({1, 2})}, {"b", floats({1, 2})}, {"only_a", floats({1})}},
      {{"a", floats({1, 2}).to(at::kBFloat16)}, {"b", floats({1, 2}).view({1, 2})}, {"only_b", floats({1})}});
  EXPECT_THAT(found.only_in_a, ElementsAre("only_a"));
  EXPECT_THAT(found.only_in_b, ElementsAre("only_b"));
  EXPECT_THAT(found.other_shape, ElementsAre("b [2] against [1, 2]"));
  ASSERT_EQ(found.tensors.size(), 1u);
  EXPECT_EQ(found.tensors[0].remark, "Float against BFloat16");
  EXPECT_EQ(found.tensors[0].relative_l2, 0);
  EXPECT_FALSE(found.same());
}

TEST(WeightDiff, a_value_that_is_not_finite_on_one_side_is_the_worst) {
  const WeightDiff found =
      diff({{"a", floats({1})}, {"b", floats({1})}}, {{"a", floats({2})}, {"b", floats({NAN})}});
  ASSERT_EQ(found.tensors.size(), 2u);
  EXPECT_EQ(found.tensors[0].name, "b");
  EXPECT_TRUE(std::isinf(found.tensors[0].max_abs));
}

class SelectWeights : public testing::Test {
 protected:
  std::vector<std::string> names(const Tensors& tensors, WeightChoice choice) const {
    const auto file = select_weights(file_of(folder_ / "a", tensors), choice);
    std::vector<std::string> names;
    for (const auto& [name, entry] : file->entries())
      names.push_back(name + "=" + std::to_string(file->tensor(name).item<int>()));
    return names;
  }
  const test::ScratchFolder folder_;
  const Tensors both_{{"net.w", floats({1})},
                      {"net.buffer", floats({2})},
                      {"net_ema.w", floats({3})},
                      {"optim.step", floats({4})}};
};

TEST_F(SelectWeights, averages_take_the_names_of_the_weights_and_buffers_stay) {
  for (const WeightChoice choice : {WeightChoice::ema, WeightChoice::automatic})
    EXPECT_THAT(names(both_, choice), ElementsAre("net.buffer=2", "net.w=3"));
}

TEST_F(SelectWeights, weights_alone_or_everything) {
  EXPECT_THAT(names(both_, WeightChoice::model), ElementsAre("net.buffer=2", "net.w=1"));
  EXPECT_EQ(names(both_, WeightChoice::all).size(), 4u);
}

TEST_F(SelectWeights, files_without_averages_or_prefixes_stay_as_they_are) {
  EXPECT_THAT(names({{"net.w", floats({1})}}, WeightChoice::automatic), ElementsAre("net.w=1"));
  EXPECT_THAT(names({{"w", floats({1})}}, WeightChoice::model), ElementsAre("w=1"));
  EXPECT_THROW(names({{"net.w", floats({1})}}, WeightChoice::ema), Error);
}

}  // namespace
}  // namespace orrery
