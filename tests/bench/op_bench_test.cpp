#include "bench/op_bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "bench/report.h"

namespace orrery {
namespace {

Config nano() {
  Config c;
  c.model.preset = "nano";
  c.data.frames = 5;
  c.data.height = c.data.width = 64;
  c.train.batch = 1;
  return c;
}

OpFigure figure(const OpBench& bench, const std::string& name, const std::string& phase) {
  for (const OpFigure& f : bench.figures)
    if (f.name == name && f.phase == phase) return f;
  ADD_FAILURE() << "no figure of " << name << ", " << phase;
  return {};
}

TEST(OpBench, holds_ops_against_measured_rates) {
  const OpBench bench = bench_ops(nano(), {.filter = "linear", .repeats = 2});
  EXPECT_GT(bench.matmul_tflops, 0);
  EXPECT_GT(bench.copy_gb_per_s, 0);
  const OpFigure forward = figure(bench, "linear of mlp.layer1", "forward");
  EXPECT_EQ(forward.flops, 2.0 * 32 * 64 * 256);  // tokens x width x hidden
  EXPECT_EQ(forward.bytes, 4.0 * (32 * 64 + 256 * 64 + 32 * 256));
  EXPECT_GE(forward.floor_ms, 1e-9 * forward.flops / bench.matmul_tflops);
  EXPECT_GT(forward.ms, 0);
  EXPECT_EQ(figure(bench, "linear of mlp.layer1", "backward").flops, 2 * forward.flops);
  EXPECT_THAT(describe(bench), testing::HasSubstr("linear of mlp.layer2"));
}

TEST(OpBench, knows_all_operations_of_a_block_and_the_update) {
  Config c = nano();
  c.parallel.context = 2;
  const OpBench bench = bench_ops(c, {.filter = "", .repeats = 1});
  for (const char* name : {"attention, self", "attention, cross", "rms_norm of cross-attention's queries",
                           "rms_norm_rope of queries", "adaln", "gated_add", "gelu", "squared_error"}) {
    EXPECT_GT(figure(bench, name, "forward").ms, 0) << name;
    EXPECT_GT(figure(bench, name, "backward").ms, 0) << name;
  }
  for (const char* name :
       {"norm of gradients", "adamw, float32", "adamw with scale and averages, float32", "averages, float32",
        "adamw, bfloat16 with masters", "adamw with scale and averages, bfloat16 with masters",
        "packing of float32 rows in bfloat16", "unpacking of bfloat16 in float32 rows"})
    EXPECT_GT(figure(bench, name, "update").ms, 0) << name;
  // A head of two for all tokens of the clip: 4 S^2 d.
  EXPECT_EQ(figure(bench, "attention, self", "forward").flops, 4.0 * 32 * 32 * 32);
}

TEST(OpBench, refuses_a_filter_that_leaves_nothing) {
  EXPECT_THROW(bench_ops(nano(), {.filter = "no such op", .repeats = 1}), Error);
}

}  // namespace
}  // namespace orrery
