// Loading golden cases, and the comparison that decides whether a result passes.
#include "parity/case.h"

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <cmath>

#include "ckpt/safetensors.h"
#include "fixtures.h"
#include "parity/compare.h"

namespace orrery {
namespace {

using testing::HasSubstr;
using Metadata = std::map<std::string, std::string>;

const Metadata kGood{
    {"module", "m"}, {"config", R"({"width":4})"}, {"dtype", "float32"}, {"tolerance", R"({"*":1e-3})"}};

Case saved_case(const NamedTensors& tensors, Metadata metadata = {}) {
  const test::ScratchFolder folder;
  metadata.insert(kGood.begin(), kGood.end());
  save_safetensors(folder / "c.safetensors", tensors, metadata);
  return load_case(folder / "c.safetensors");
}

std::string refusal(const NamedTensors& tensors, const Metadata& metadata = {}) {
  try {
    saved_case(tensors, metadata);
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("c.safetensors"));
    return error.what();
  }
  return "accepted";
}

const at::Tensor one = at::ones({2});

TEST(Case, tensors_go_to_their_sections) {
  const Case c = saved_case({{"weights.a.b", one},
                             {"inputs.x", one},
                             {"outputs.v", one},
                             {"cotangents.v", one},
                             {"grads.a.b", one},
                             {"input_grads.x", one},
                             {"tangents.x", one},
                             {"output_tangents.v", one}});
  EXPECT_EQ(c.name, "c");
  EXPECT_EQ(c.module, "m");
  EXPECT_EQ(c.option<int>("width"), 4);
  EXPECT_EQ(c.weights.count("a.b"), 1u);
  EXPECT_EQ(c.inputs.count("x"), 1u);
  EXPECT_EQ(c.cotangents.count("v"), 1u);
  EXPECT_EQ(c.tangents.count("x"), 1u);
  std::vector<std::string> expected;
  for (const auto& [name, unused] : c.expected) expected.push_back(name);
  EXPECT_THAT(expected, testing::ElementsAre("grads.a.b", "input_grads.x", "output_tangents.v", "v"));
  EXPECT_TRUE(c.wants("v"));
  EXPECT_FALSE(c.wants("w"));
}

TEST(Case, malformed_files_are_refused_with_a_reason) {
  const NamedTensors good{{"outputs.v", one}};
  EXPECT_EQ(refusal(good), "accepted");
  EXPECT_THAT(refusal({{"inputs.x", one}}), HasSubstr("nothing is expected"));
  EXPECT_THAT(refusal({{"v", one}}), HasSubstr("not named SECTION.NAME"));
  EXPECT_THAT(refusal({{"output.v", one}}), HasSubstr("unknown section"));
  EXPECT_THAT(refusal({{"outputs.grads.v", one}, {"grads.v", one}}), HasSubstr("twice"));
  EXPECT_THAT(refusal(good, {{"dtype", "float8"}}), HasSubstr("dtype"));
  EXPECT_THAT(refusal(good, {{"config", "[]"}}), HasSubstr("config is not a JSON object"));
  EXPECT_THAT(refusal(good, {{"config", "{"}}), HasSubstr("config is not a JSON object"));
  EXPECT_THAT(refusal(good, {{"config", R"({"a":)" + std::string(100'000, '[')}}),
              HasSubstr("nested too deeply"));
  EXPECT_THAT(refusal(good, {{"config", "{}" + std::string(300'000, ' ')}}),
              HasSubstr("larger than 256 KiB"));
  EXPECT_THAT(refusal(good, {{"tolerance", R"({"w":1})"}}), HasSubstr("no tolerance covers 'v'"));
  EXPECT_THAT(refusal(good, {{"tolerance", R"({"*":-1})"}}), HasSubstr("tolerance of '*'"));
  EXPECT_THAT(refusal(good, {{"tolerance", R"({"*":"x"})"}}), HasSubstr("not a number"));
  EXPECT_THAT(refusal(good, {{"int_tolerance", R"({"v":{"max_abs":1}})"}}), HasSubstr("max_fraction"));
}

TEST(Case, metadata_that_is_missing_is_named) {
  const test::ScratchFolder folder;
  for (const std::string missing : {"module", "config", "dtype", "tolerance"}) {
    Metadata metadata = kGood;
    metadata.erase(missing);
    save_safetensors(folder / "c", {{"outputs.v", one}}, metadata);
    try {
      load_case(folder / "c");
      ADD_FAILURE() << missing;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("metadata has no " + missing));
    }
  }
}

TEST(Case, options_and_tensors_that_are_missing_are_named) {
  const Case c = saved_case({{"outputs.v", one}});
  const auto message = [](const auto& call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message([&] { c.option<int>("depth"); }), HasSubstr("no option depth"));
  EXPECT_THAT(message([&] { c.option<std::string>("width"); }),
              HasSubstr("width has an unsuitable value: 4"));
  EXPECT_THAT(message([&] { c.input("x", at::kCPU); }), HasSubstr("no inputs.x"));
  EXPECT_THAT(message([&] { c.weight("a", at::kCPU); }), HasSubstr("no weights.a"));
  EXPECT_EQ(c.option_or("depth", 3), 3);
}

TEST(Case, stored_tensors_are_converted_to_the_dtype_of_the_case) {
  const NamedTensors tensors{
      {"weights.narrow", one.to(at::kBFloat16)}, {"weights.wide", one}, {"weights.count", one.to(at::kLong)},
      {"inputs.narrow", one.to(at::kBFloat16)},  {"inputs.wide", one},  {"outputs.v", one}};
  const Case single = saved_case(tensors);
  EXPECT_EQ(single.weight("narrow", at::kCPU).scalar_type(), at::kFloat);
  EXPECT_EQ(single.weight("count", at::kCPU).scalar_type(), at::kLong);
  EXPECT_EQ(single.input("narrow", at::kCPU).scalar_type(), at::kFloat);
  const Case half = saved_case(tensors, {{"dtype", "bfloat16"}});
  EXPECT_EQ(half.weight("wide", at::kCPU).scalar_type(), at::kBFloat16);
  EXPECT_EQ(half.input("narrow", at::kCPU).scalar_type(), at::kBFloat16);
  EXPECT_EQ(half.input("wide", at::kCPU).scalar_type(), at::kFloat);  // times stay float32
  EXPECT_EQ(saved_case(tensors, {{"dtype", "float64"}}).input("wide", at::kCPU).scalar_type(), at::kDouble);
}

TEST(Case, the_longest_prefix_gives_the_tolerance) {
  Case c;
  c.tolerance = {{"*", 1}, {"grads", 2}, {"grads.blocks.1", 3}, {"", 4}};
  EXPECT_EQ(tolerance_of(c, "grads.blocks.10.w"), 3);
  EXPECT_EQ(tolerance_of(c, "grads.x"), 2);
  EXPECT_EQ(tolerance_of(c, "v"), 4);
  c.tolerance.erase("");
  EXPECT_EQ(tolerance_of(c, "v"), 1);
  c.tolerance.erase("*");
  EXPECT_EQ(tolerance_of(c, "v"), std::nullopt);
}

Case expecting(const std::string& name, const at::Tensor& want) {
  Case c;
  c.expected = {{name, want}};
  c.tolerance = {{"*", 1e-3}};
  return c;
}

Comparison compared(const at::Tensor& want, const at::Tensor& got) {
  const auto all = compare(expecting("v", want), {{"v", got}});
  EXPECT_EQ(all.size(), 1u);
  return all.front();
}

TEST(Compare, error_is_relative_l2_in_double) {
  const at::Tensor want = at::tensor({3.0, 4.0}, at::kDouble);
  const Comparison entry = compared(want, at::tensor({3.0, 4.0 + 4e-3}, at::kDouble));
  EXPECT_NEAR(entry.error, 8e-4, 1e-15);
  EXPECT_TRUE(entry.passed);
  EXPECT_FALSE(compared(want, at::tensor({3.0, 4.006}, at::kDouble)).passed);
  EXPECT_TRUE(compared(want.to(at::kBFloat16), want.to(at::kFloat)).passed);
}

TEST(Compare, very_large_and_very_small_values_keep_their_relative_error) {
  for (const double size : {1e300, 1e-300}) {
    const at::Tensor want = at::full({3}, size, at::kDouble);
    EXPECT_NEAR(compared(want, want * 1.01).error, 0.01, 1e-12);
    EXPECT_FALSE(compared(want, want * 0).passed);
  }
}

TEST(Compare, a_value_that_is_not_finite_never_passes) {
  const double nan = std::nan(""), infinity = HUGE_VAL;
  const at::Tensor want = at::tensor({1.0, 2.0});
  EXPECT_FALSE(compared(want, at::tensor({1.0, nan})).passed);
  EXPECT_FALSE(compared(want, at::tensor({1.0, infinity})).passed);
  EXPECT_FALSE(compared(at::tensor({1.0, nan}), at::tensor({1.0, nan})).passed);
  EXPECT_FALSE(compared(at::tensor({1.0, infinity}), at::tensor({1.0, infinity})).passed);
  EXPECT_FALSE(compared(at::zeros({2}), at::tensor({0.0, nan})).passed);
}

TEST(Compare, a_tolerance_of_0_is_met_by_the_same_bits_whatever_they_mean) {
  const double nan = std::nan(""), infinity = HUGE_VAL;
  Case c = expecting("v", at::tensor({nan, infinity, -0.0}));
  c.tolerance = {{"*", 0.0}};
  EXPECT_TRUE(compare(c, {{"v", at::tensor({nan, infinity, -0.0})}}).front().passed);
  EXPECT_FALSE(compare(c, {{"v", at::tensor({nan, -infinity, -0.0})}}).front().passed);
}

TEST(Compare, expected_zeros_must_be_exactly_zero) {
  EXPECT_TRUE(compared(at::zeros({2}), at::zeros({2})).passed);
  EXPECT_TRUE(compared(at::zeros({0}), at::zeros({0})).passed);
  EXPECT_FALSE(compared(at::zeros({2}), at::full({2}, 1e-30)).passed);
}

TEST(Compare, integers_must_be_equal) {
  const at::Tensor want = at::tensor({1, 2, 3, 4}, at::kLong);
  EXPECT_TRUE(compared(want, want.clone()).passed);
  EXPECT_TRUE(compared(want, want.to(at::kInt)).passed);
  const Comparison entry = compared(want, at::tensor({1, 2, 3, 5}, at::kLong));
  EXPECT_FALSE(entry.passed);
  EXPECT_EQ(entry.error, 0.25);
  EXPECT_FALSE(compared(want, want.to(at::kFloat)).passed);
  EXPECT_FALSE(compared(want.to(at::kFloat), want).passed);
  EXPECT_TRUE(compared(at::tensor({0, 1}, at::kByte), at::tensor({0, 1}, at::kLong).to(at::kBool)).passed);
  const int64_t large = int64_t{1} << 60;
  EXPECT_FALSE(compared(at::full({1}, large, at::kLong), at::full({1}, large + 1, at::kLong)).passed);
}

TEST(Compare, int_tolerance_bounds_both_size_and_number_of_differences) {
  Case c = expecting("v", at::tensor({10, 20, 30, 40}, at::kByte));
  c.int_tolerance = {{"v", {1, 0.25}}};
  const auto passes = [&](std::vector<int64_t> got) {
    return compare(c, {{"v", at::tensor(got, at::kByte)}}).front().passed;
  };
  EXPECT_TRUE(passes({10, 20, 30, 40}));
  EXPECT_TRUE(passes({10, 20, 30, 41}));
  EXPECT_FALSE(passes({10, 20, 30, 42}));
  EXPECT_FALSE(passes({10, 20, 31, 41}));
}

TEST(Compare, shape_missing_and_unexpected_results_fail) {
  EXPECT_THAT(compared(at::ones({2}), at::ones({1, 2})).problem, HasSubstr("shape [1, 2], wanted [2]"));
  const auto missing = compare(expecting("v", one), {});
  EXPECT_FALSE(missing.front().passed);
  EXPECT_EQ(missing.front().problem, "missing");
  const auto extra = compare(expecting("v", one), {{"v", one}, {"w", one}});
  ASSERT_EQ(extra.size(), 2u);
  EXPECT_EQ(worst(extra).name, "w");
  EXPECT_FALSE(worst(extra).passed);
}

TEST(Compare, the_worst_entry_is_measured_against_its_tolerance) {
  const std::vector<Comparison> all{
      {"a", 1e-4, 1e-3, true, ""}, {"b", 1e-6, 1.1e-6, true, ""}, {"c", 0, 0, true, ""}};
  EXPECT_EQ(worst(all).name, "b");
}

}  // namespace
}  // namespace orrery
