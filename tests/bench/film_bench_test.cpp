#include "bench/film_bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "one_thread.h"

namespace orrery {
namespace {

using testing::HasSubstr;

Config small() {
  Config c;
  c.model.preset = "nano";
  c.data.frames = 5;
  c.data.height = 32;
  c.data.width = 32;
  return c;
}

double calls(const FilmBench& bench, const std::string& label) {
  for (const TimeRow& row : bench.rows)
    if (row.label == label) return row.calls;
  return 0;
}

}  // namespace

TEST(FilmBench, times_steps_of_both_branches_and_says_where_they_went) {
  const test::OneThread guard;
  Config c = small();
  World world;
  const FilmBench bench = bench_film(c, world, {.warm_up = 1, .steps = 3});
  EXPECT_EQ(bench.step_ms.size(), 3U);
  EXPECT_GT(bench.median_ms(), 0);
  EXPECT_GT(bench.flops(), 0);
  // Both branches go through both blocks, but the first self-attention, which sees no text, is made once.
  EXPECT_EQ(calls(bench, "blocks.*.self_attn.attention"), 3);
  EXPECT_EQ(calls(bench, "blocks.*.cross_attn.attention"), 4);
  double sum = 0;
  for (const TimeRow& row : bench.rows) sum += row.ms;
  EXPECT_LE(sum, bench.profiled_ms);
  EXPECT_THAT(describe(bench, 5), HasSubstr("35 of them"));
  const auto json = nlohmann::json::parse(json_of(bench));
  EXPECT_EQ(json["rows"].size(), bench.rows.size());
  EXPECT_EQ(json["step_ms"].size(), 3U);
}

TEST(FilmBench, takes_every_sampler_images_and_no_guidance) {
  const test::OneThread guard;
  World world;
  Config c = small();
  c.sample.sigmas = Sigmas::karras;
  const FilmBench karras = bench_film(c, world, {.warm_up = 0, .steps = 2});
  EXPECT_EQ(karras.step_ms.size(), 2U);
  EXPECT_THAT(describe(karras, 5), HasSubstr("36 of them"));
  c = small();
  c.sample.sampler = SamplerKind::euler;
  c.data.frames = 1;
  c.sample.guidance = 0;
  EXPECT_EQ(calls(bench_film(c, world, {.warm_up = 0, .steps = 1}), "blocks.*.self_attn.attention"), 2);
}

TEST(FilmBench, refuses_what_ranks_cannot_share) {
  World world;
  const Config c = small();
  EXPECT_THROW(bench_film(c, world, {.warm_up = 0, .steps = 1, .branches = 2}), Error);
  EXPECT_THROW(bench_film(c, world, {.warm_up = 0, .steps = 0}), Error);
  Config other = c;
  other.parallel.context = 2;
  EXPECT_THROW(bench_film(other, world, {.warm_up = 0, .steps = 1}), Error);
}

}  // namespace orrery
