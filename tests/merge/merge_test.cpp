#include "merge/merge.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/zeros_like.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "merge/models.h"

namespace orrery {
namespace {

using test::Family;
using test::merged;
using test::Model;
using test::numbers_of;
using test::random_family;
using test::same_bits;
using test::vector_of;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr MergeMethod kAll[] = {MergeMethod::soup, MergeMethod::task_arithmetic, MergeMethod::ties,
                                MergeMethod::dare_linear, MergeMethod::dare_ties};

MergeConfig config_of(MergeMethod method, double density) {
  MergeConfig config{.method = method};
  if (method != MergeMethod::soup && method != MergeMethod::task_arithmetic) config.density = {density};
  return config;
}

Family one_tensor(const std::vector<float>& base, const std::vector<std::vector<float>>& models) {
  Family family{{{"w", vector_of(base)}}, {}};
  for (const auto& model : models) family.models.push_back({{"w", vector_of(model)}});
  return family;
}

std::string refusal(const Family& family, const MergeConfig& config) {
  try {
    merged(family, config);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

// By hand. Changes 1: 4 -2 1 0 3 -3, changes 2: -4 -1 2 0 -3 3; density 2/3 keeps 4 of 6.
//   1 keeps 4, 3, -3, -2; 2 keeps -4, -3, 3, 2
//   element 0: 4 - 4 = 0 elects +, so 4; 1: -2 alone; 2: 2 alone; 3: 0 elects + and no one has it, so 0;
//   4: 3 - 3 = 0, so 3; 5: 0, so 3
TEST(Ties, six_elements_by_hand_with_conflicts_zeros_and_ties) {
  const Family family = one_tensor({1, 1, 1, 1, 1, 1}, {{5, -1, 2, 1, 4, -2}, {-3, 0, 3, 1, -2, 4}});
  const MergeConfig config{.method = MergeMethod::ties, .density = {0.67}};
  EXPECT_THAT(numbers_of(merged(family, config).at("w")), ElementsAre(5, -1, 3, 1, 4, 4));
}

TEST(Ties, of_equal_magnitudes_the_first_are_kept) {
  const MergeConfig half{.method = MergeMethod::ties, .density = {0.5}};
  const Family family = one_tensor({0, 0, 0, 0, 0}, {{2, -2, 2, -2, 2}});
  EXPECT_THAT(numbers_of(merged(family, half).at("w")), ElementsAre(2, -2, 0, 0, 0));
}

TEST(Ties, global_trim_takes_ties_in_the_order_of_names_whatever_the_order_of_the_file) {
  Family family{{{"b", vector_of({0, 0})}, {"a", vector_of({0, 0}).to(at::kBFloat16)}}, {}};
  family.models.push_back({{"b", vector_of({1, 1})}, {"a", vector_of({1, 1}).to(at::kBFloat16)}});
  const MergeConfig config{.method = MergeMethod::ties, .density = {0.75}, .trim = Trim::global};
  const Model result = merged(family, config);
  EXPECT_THAT(numbers_of(result.at("a")), ElementsAre(1, 1));
  EXPECT_THAT(numbers_of(result.at("b")), ElementsAre(1, 0));
}

TEST(Merge, one_model_at_density_1_comes_out_bit_for_bit) {
  const Family family = random_family(1);
  for (const MergeMethod method : kAll)
    for (const auto& [name, tensor] : merged(family, config_of(method, 1)))
      EXPECT_TRUE(same_bits(
          tensor,
          (tensor.is_floating_point() && !name.ends_with("_extra_state") ? family.models[0] : family.base)
              .at(name)))
          << name;
}

TEST(Merge, equal_models_come_out_of_soup_and_ties_bit_for_bit) {
  Family family = random_family(1);
  family.models.assign(3, family.models[0]);
  for (const MergeMethod method : {MergeMethod::soup, MergeMethod::ties})
    EXPECT_TRUE(
        same_bits(merged(family, config_of(method, 1)).at("net.conv"), family.models[0].at("net.conv")));
  Family alone = family;
  alone.models.resize(1);
  EXPECT_TRUE(same_bits(merged(family, config_of(MergeMethod::ties, 0.4)).at("net.conv"),
                        merged(alone, config_of(MergeMethod::ties, 0.4)).at("net.conv")));
}

TEST(Merge, order_of_models_does_not_matter_without_dropout) {
  const Family family = random_family(3);
  Family turned = family;
  std::rotate(turned.models.begin(), turned.models.begin() + 1, turned.models.end());
  for (const MergeMethod method : {MergeMethod::soup, MergeMethod::task_arithmetic, MergeMethod::ties}) {
    MergeConfig left = config_of(method, 0.5), right = left;
    left.weights = {0.2, 0.3, 0.5};
    right.weights = {0.3, 0.5, 0.2};
    const Model a = merged(family, left), b = merged(turned, right);
    for (const char* const name : {"net.blocks.0.weight", "net.conv", "net.scale"})
      EXPECT_LE((a.at(name) - b.at(name)).abs().max().item<float>(), 0x1p-22f) << name;
  }
}

TEST(Merge, parts_do_not_change_a_bit) {
  const Family family = random_family(3);
  for (const MergeMethod method : kAll) {
    for (const Trim trim : {Trim::tensor, Trim::global}) {
      if (trim == Trim::global && method != MergeMethod::ties) continue;
      MergeConfig config = config_of(method, 0.3);
      config.trim = trim;
      const Model whole = merged(family, config), parts = merged(family, config, 7);
      for (const auto& [name, tensor] : whole) EXPECT_TRUE(same_bits(tensor, parts.at(name))) << name;
    }
  }
}

TEST(Merge, result_has_the_dtypes_of_the_base) {
  Family family = random_family(2);
  for (auto& [name, tensor] : family.base)
    if (tensor.is_floating_point()) tensor = tensor.to(at::kBFloat16);
  for (const auto& [name, tensor] : merged(family, config_of(MergeMethod::ties, 0.5)))
    EXPECT_EQ(tensor.scalar_type(), family.base.at(name).scalar_type()) << name;
}

// Mean of the kept and rescaled change over many seeds is the change, and its variance d^2 p / (1 - p).
TEST(Dare, is_unbiased_with_the_variance_of_the_paper) {
  constexpr int kSeeds = 1000;
  constexpr double kDensity = 0.3, kDrop = 1 - kDensity;
  const Family family = one_tensor({0, 0, 0, 0}, {{1, -2, 0.5, 8}});
  std::vector<double> sum(4), squares(4);
  MergeConfig config = config_of(MergeMethod::dare_linear, kDensity);
  for (config.seed = 1; config.seed <= kSeeds; ++config.seed) {
    const std::vector<double> values = numbers_of(merged(family, config).at("w"));
    for (size_t i = 0; i < 4; ++i) sum[i] += values[i], squares[i] += values[i] * values[i];
  }
  const std::vector<double> change = numbers_of(family.models[0].at("w"));
  for (size_t i = 0; i < 4; ++i) {
    const double mean = sum[i] / kSeeds, variance = squares[i] / kSeeds - mean * mean;
    const double wanted = change[i] * change[i] * kDrop / kDensity;
    EXPECT_NEAR(mean, change[i], 4 * std::sqrt(wanted / kSeeds));
    EXPECT_NEAR(variance, wanted, 0.15 * wanted);
  }
}

TEST(Dare, masks_depend_on_seed_model_and_name) {
  const at::Tensor one = seeded_uniforms(1)(0, "w", {0, 64});
  EXPECT_TRUE(at::equal(one, seeded_uniforms(1)(0, "w", {0, 64})));
  EXPECT_TRUE(at::equal(one.narrow(0, 5, 20), seeded_uniforms(1)(0, "w", {5, 25})));
  EXPECT_FALSE(at::equal(one, seeded_uniforms(2)(0, "w", {0, 64})));
  EXPECT_FALSE(at::equal(one, seeded_uniforms(1)(1, "w", {0, 64})));
  EXPECT_FALSE(at::equal(one, seeded_uniforms(1)(0, "v", {0, 64})));
}

TEST(Merge, models_that_do_not_fit_each_other_are_refused_by_name) {
  const Family good = random_family(2);
  const MergeConfig soup;
  Family family = good;
  family.models[1].erase("net.conv");
  EXPECT_THAT(refusal(family, soup), HasSubstr("missing: 'net.conv'"));
  family = good;
  family.models[1].emplace("net.more", vector_of({1}));
  EXPECT_THAT(refusal(family, soup), HasSubstr("unexpected: 'net.more'"));
  family = good;
  family.models[1].at("net.conv") = family.models[1].at("net.conv").view({2, 3, 5});
  EXPECT_THAT(refusal(family, soup), HasSubstr("wrong shape: 'net.conv' [2, 3, 5], wanted [3, 2, 1, 5]"));
  family = good;
  family.models[1].at("net.conv") = family.models[1].at("net.conv").to(at::kLong);
  EXPECT_THAT(refusal(family, soup), HasSubstr("floating in one of the two only"));
}

TEST(Merge, values_that_are_not_finite_are_refused) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
    for (const MergeMethod method : kAll)
      EXPECT_THAT(refusal(one_tensor({1, 1}, {{1, bad}}), config_of(method, 0.5)), HasSubstr("not finite"));
  EXPECT_THAT(refusal(one_tensor({0}, {{3e38f}}), {.method = MergeMethod::task_arithmetic, .lambda = 2}),
              HasSubstr("overflows"));
}

TEST(Merge, settings_without_effect_or_sense_are_refused) {
  const Family family = one_tensor({0, 0}, {{1, 2}, {3, 4}});
  const auto expect = [&](const MergeConfig& config, const char* message) {
    EXPECT_THAT(refusal(family, config), HasSubstr(message));
  };
  expect({.density = {0.5}}, "density has no effect on soup");
  expect({.lambda = 0.5}, "lambda has no effect on soup");
  expect({.method = MergeMethod::ties, .density = {0.5}, .seed = 1}, "seed has no effect on ties");
  expect({.method = MergeMethod::dare_ties, .density = {0.5}, .trim = Trim::global}, "trim has no effect");
  expect({.method = MergeMethod::ties}, "density is missing");
  expect({.method = MergeMethod::ties, .density = {0}}, "wanted above 0");
  expect({.method = MergeMethod::ties, .density = {0.1, 0.2, 0.3}}, "3 numbers for 2 models");
  expect({.weights = {1, -1}}, "add up to 0");
  EXPECT_THAT(refusal({{}, family.models}, {.method = MergeMethod::task_arithmetic}),
              HasSubstr("wants a base"));
  EXPECT_THAT(refusal({{}, family.models}, {.base_weight = 1}), HasSubstr("without a base"));
}

}  // namespace
}  // namespace orrery
