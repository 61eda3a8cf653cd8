#include "bench/train_bench.h"

#include <ATen/Context.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "bench/random_batch.h"
#include "bench/report.h"
#include "infer/world_model.h"

namespace orrery {
namespace {

Config nano() {
  Config c;
  c.model.preset = "nano";
  c.data.frames = 5;
  c.data.height = c.data.width = 32;
  c.train.batch = 2;
  return c;
}

TEST(ModelFlops, are_those_of_the_formula_for_a_720p_clip_of_2b) {
  Config c;
  c.train.batch = 1;
  EXPECT_EQ(tokens_of_clip(c), 84480);
  // 3 x 28 x (28 x 2048^2 + 4 x 84480 x 2048 + 4 x 512 x 2048) x 84480
  EXPECT_DOUBLE_EQ(model_flops(c), 84.0 * 813694976.0 * 84480.0);
  c.train.batch = 3;
  EXPECT_DOUBLE_EQ(model_flops(c), 3 * 84.0 * 813694976.0 * 84480.0);
}

TEST(RandomBatch, is_the_same_each_time_and_of_the_settings_shapes) {
  const auto comm = single_rank_comm("alone");
  const Mesh mesh(*comm, {0}, {});
  const flow::FlowBatch a = random_batch(nano(), mesh, at::kCPU), b = random_batch(nano(), mesh, at::kCPU);
  EXPECT_EQ(a.x0.sizes(), (std::vector<int64_t>{2, 16, 2, 4, 4}));
  EXPECT_EQ(a.text.sizes(), (std::vector<int64_t>{2, 16, 64}));
  EXPECT_TRUE(a.x0.equal(b.x0));
  EXPECT_FALSE(a.x0.equal(a.noise));
  EXPECT_NEAR(a.noise.std().item<double>(), 1, 0.2);
  EXPECT_EQ(a.kind, flow::BatchKind::video);
}

TEST(TrainBench, times_real_steps_and_says_where_they_went) {
  World world;
  const TrainBench bench = bench_train(nano(), world, {.warm_up = 1, .steps = 3, .profiled = 2});
  EXPECT_EQ(bench.step_ms.size(), 3U);
  EXPECT_GT(bench.loss, 0);
  EXPECT_LE(total_ms(bench.rows), bench.profiled_ms);
  EXPECT_GE(total_ms(bench.rows), 0.5 * bench.profiled_ms);  // all of it but for a busy machine
  const auto has = [&](const std::string& label, const std::string& phase, double calls) {
    return std::any_of(bench.rows.begin(), bench.rows.end(), [&](const TimeRow& r) {
      return r.label == label && r.phase == phase && r.calls == calls && r.ms > 0;
    });
  };
  EXPECT_TRUE(has("blocks.*.self_attn.attention", "forward", 2));
  EXPECT_TRUE(has("blocks.*.self_attn.attention", "backward", 2));
  EXPECT_TRUE(has("norm and clip of gradients, loss", "", 0));
  EXPECT_TRUE(has("update of weights and averages", "", 0));
}

TEST(TrainBench, report_and_json_hold_the_same_figures) {
  TrainBench bench{.config = nano(), .mesh = {}};
  bench.step_ms = {5, 4, 9};
  bench.rows = {{"blocks.*.mlp.layer1.linear", "forward", 2, 3, 6e9, 0},
                {"all_gather 'gather blocks.*'", "wait", 2, 1, 0, 0}};
  Expected expected{.ceilings = read_ceilings("cpu")};
  const std::string text = describe(bench, expected, 40);
  EXPECT_THAT(text, testing::HasSubstr("blocks.*.mlp.layer1.linear"));
  const auto json = nlohmann::json::parse(json_of(bench, expected));
  EXPECT_EQ(json["median_ms"], 5);
  EXPECT_EQ(json["exposed_ms"], 1);
  const double peak = 1e12 * expected.ceilings->peak_tflops * 5e-3;
  EXPECT_DOUBLE_EQ(json["mfu"], model_flops(nano()) / peak);
  EXPECT_DOUBLE_EQ(json["hfu"], 6e9 / peak);
  EXPECT_FALSE(nlohmann::json::parse(json_of(bench, {})).contains("mfu")) << "the peak is not known";
}

TEST(TrainBench, tells_of_products_that_were_chosen_by_time) {
  TrainBench bench{.config = nano(), .mesh = {}};
  bench.step_ms = {5};
  bench.products.runs = 3;
  bench.products.timed = {{.m = 21120,
                           .k = 2048,
                           .n = 8192,
                           .layout = "nt",
                           .type = at::kBFloat16,
                           .tried = 16,
                           .first_ms = 2,
                           .best_ms = 1}};
  EXPECT_THAT(describe(bench, {}, 40), testing::Not(testing::HasSubstr("21120")));
  bench.config.numerics.tune = true;
  const std::string text = describe(bench, {}, 40);
  for (const char* figure : {"21120 x 2048 x 8192", " nt ", "BFloat16", " 16 ", "2.0000", "354.3", "708.7"})
    EXPECT_THAT(text, testing::HasSubstr(figure));
  const auto json = nlohmann::json::parse(json_of(bench, {}));
  EXPECT_EQ(json["products"]["timed"][0]["best_ms"], 1);
}

TEST(TrainBench, does_not_choose_by_time_where_bits_must_repeat) {
  World world;
  Config c = nano();
  c.numerics.deterministic = c.numerics.tune = true;
  EXPECT_THROW(bench_train(c, world, {}), Error);
}

TEST(TrainBench, has_nothing_to_choose_on_the_cpu) {
  World world;
  Config c = nano();
  c.numerics.tune = true;
  const TrainBench bench = bench_train(c, world, {.warm_up = 0, .steps = 1, .profiled = 0});
  EXPECT_GT(bench.loss, 0);
  EXPECT_EQ(bench.products.timed.size(), 0U);
  at::globalContext().setBenchmarkCuDNN(false);
}

}  // namespace
}  // namespace orrery
