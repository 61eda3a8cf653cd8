// Matching the names and shapes of a file with those of a model: what is loaded, passed over, left out,
// refused.
#include "ckpt/key_rules.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include "base/error.h"
#include "ckpt/safetensors.h"
#include "fixtures.h"

namespace orrery {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using Tensors = std::map<std::string, at::Tensor>;

class KeyRules : public testing::Test {
 protected:
  ShardView target(const std::string& name, std::vector<int64_t> shape) {
    return {name, shape, 0, at::full(shape, -1.0)};
  }
  std::string load(const Tensors& tensors, const LoadRequest& request) {
    save_safetensors(folder / "model.safetensors", tensors);
    return load_shards(*open_weights(folder / "model.safetensors"), request);
  }
  std::string refusal(const Tensors& tensors, const LoadRequest& request) {
    try {
      load(tensors, request);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Exit::bad_input);
      return error.what();
    }
    return "accepted";
  }
  const test::ScratchFolder folder;
  LoadRequest request{{target("a", {2, 3}), target("b", {2})}, {target("count", {})}, Weights::model, {}};
};

double value(const ShardView& shard) {
  return shard.local.sum().item<double>() / static_cast<double>(shard.local.numel());
}

TEST_F(KeyRules, names_load_with_and_without_prefix) {
  for (const std::string prefix : {"net.", "", "module.", "module.net.", "net.module."}) {
    request.parameters = {target("a", {2, 3}), target("b", {2})};
    const std::string report = load({{prefix + "a", at::full({2, 3}, 2.0)},
                                     {prefix + "b", at::ones({2})},
                                     {prefix + "count", at::ones({})}},
                                    request);
    EXPECT_EQ(value(request.parameters[0]), 2) << prefix;
    EXPECT_EQ(value(request.parameters[1]), 1) << prefix;
    EXPECT_EQ(value(request.buffers[0]), 1) << prefix;
    EXPECT_THAT(report, HasSubstr("loaded 3 tensors"));
  }
}

Tensors weights_and_averages() {
  return {{"net.a", at::ones({2, 3})},       {"net.b", at::ones({2})},
          {"net.count", at::ones({})},       {"net_ema.a", at::full({2, 3}, 5.0)},
          {"net_ema.b", at::full({2}, 5.0)}, {"net.a._extra_state", at::zeros({7}, at::kByte)}};
}

TEST_F(KeyRules, weights_and_averages_are_told_apart_and_the_others_passed_over_aloud) {
  EXPECT_THAT(load(weights_and_averages(), request),
              AllOf(HasSubstr("passed over 2 by the rule net_ema"), HasSubstr("1 by the rule _extra_state")));
  EXPECT_EQ(value(request.parameters[0]), 1);
  request.weights = Weights::ema;
  EXPECT_THAT(load(weights_and_averages(), request), HasSubstr("passed over 2 by the rule net"));
  EXPECT_EQ(value(request.parameters[0]), 5);
}

TEST_F(KeyRules, averaged_buffers_are_taken_where_the_file_has_them) {
  Tensors tensors = weights_and_averages();
  tensors["net_ema.count"] = at::full({}, 7.0);
  request.weights = Weights::ema;
  load(tensors, request);
  EXPECT_EQ(value(request.buffers[0]), 7);
  request.weights = Weights::model;
  load(tensors, request);
  EXPECT_EQ(value(request.buffers[0]), 1);
}

TEST_F(KeyRules, everything_that_does_not_fit_is_listed_before_anything_is_copied) {
  const std::string text =
      refusal({{"net.a", at::ones({3, 2})}, {"net.count", at::ones({})}, {"net.c", at::ones({1})}}, request);
  EXPECT_THAT(text, AllOf(HasSubstr("model.safetensors: does not fit"), HasSubstr("missing: net.b"),
                          HasSubstr("wrong shape: net.a [3, 2], the model has [2, 3]"),
                          HasSubstr("unexpected: net.c")));
  EXPECT_EQ(value(request.buffers[0]), -1);
}

TEST_F(KeyRules, numbers_of_another_kind_are_refused_by_name) {
  const std::string text = refusal({{"net.a", at::ones({2, 3}, at::kComplexFloat)},
                                    {"net.b", at::ones({2}, at::kLong)},
                                    {"net.count", at::ones({}, at::kComplexFloat)}},
                                   request);
  EXPECT_THAT(text, AllOf(HasSubstr("wrong dtype: net.a ComplexFloat, a parameter wants floating-point"),
                          HasSubstr("wrong dtype: net.b Long"),
                          HasSubstr("wrong dtype: net.count ComplexFloat, a buffer wants real")));
  EXPECT_EQ(refusal({{"net.a", at::ones({2, 3}, at::kHalf)},
                     {"net.b", at::ones({2}, at::kDouble)},
                     {"net.count", at::ones({}, at::kLong)}},
                    request),
            "accepted");
}

TEST_F(KeyRules, long_lists_are_cut_at_twenty_and_counted) {
  Tensors tensors{{"net.a", at::ones({2, 3})}, {"net.b", at::ones({2})}, {"net.count", at::ones({})}};
  for (int i = 0; i < 25; ++i) tensors[text_of("net.x", i)] = at::ones({1});
  EXPECT_THAT(refusal(tensors, request), HasSubstr("unexpected: and 5 more, 25 in all"));
}

TEST_F(KeyRules, a_file_without_averages_says_how_to_load_it) {
  request.weights = Weights::ema;
  EXPECT_THAT(
      refusal({{"net.a", at::ones({2, 3})}, {"net.b", at::ones({2})}, {"net.count", at::ones({})}}, request),
      AllOf(HasSubstr("holds no net_ema.*"), HasSubstr("missing: net_ema.a")));
}

TEST_F(KeyRules, one_tensor_under_two_names_is_refused) {
  EXPECT_THAT(refusal({{"net.a", at::ones({2, 3})}, {"module.net.a", at::ones({2, 3})}}, request),
              HasSubstr("are the same tensor by the rule module"));
  EXPECT_THAT(refusal({{"net.a", at::ones({2, 3})},
                       {"a", at::ones({2, 3})},
                       {"net.b", at::ones({2})},
                       {"net.count", at::ones({})}},
                      request),
              HasSubstr("unexpected: a"));
}

TEST_F(KeyRules, a_pattern_leaves_out_aloud_what_it_names) {
  const Tensors tensors{
      {"net.a", at::ones({3, 2})}, {"net.count", at::ones({})}, {"net.head.w", at::ones({1})}};
  request.partial = {"a", "net.b", "head.*"};
  const std::string report = load(tensors, request);
  EXPECT_THAT(report, AllOf(HasSubstr("loaded 1 tensors"), HasSubstr("left out, as asked"),
                            HasSubstr("wrong shape: net.a"), HasSubstr("missing: net.b"),
                            HasSubstr("unexpected: net.head.w")));
  EXPECT_EQ(value(request.parameters[0]), -1);
  EXPECT_EQ(value(request.buffers[0]), 1);
  request.partial = {"a", "head.?"};
  EXPECT_THAT(refusal(tensors, request), AllOf(HasSubstr("missing: net.b"), Not(HasSubstr("unexpected"))));
}

TEST_F(KeyRules, a_pattern_that_leaves_nothing_out_is_refused) {
  request.partial = {"blocks.*"};
  EXPECT_THAT(
      refusal({{"net.a", at::ones({2, 3})}, {"net.b", at::ones({2})}, {"net.count", at::ones({})}}, request),
      HasSubstr("the pattern 'blocks.*' leaves nothing out"));
}

TEST_F(KeyRules, a_shard_gets_its_rows) {
  const at::Tensor whole = at::arange(6, at::kFloat).reshape({3, 2});
  request.parameters = {{"a", {3, 2}, 1, at::zeros({2, 2}, at::kBFloat16)}, {"b", {2}, 2, at::zeros({0})}};
  load({{"net.a", whole}, {"net.b", at::ones({2})}, {"net.count", at::ones({})}}, request);
  EXPECT_TRUE(at::equal(request.parameters[0].local, whole.narrow(0, 1, 2).to(at::kBFloat16)));
}

}  // namespace
}  // namespace orrery
