#include "parallel/world.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "parallel/agreement.h"
#include "parallel/collectives.h"
#include "parallel/mesh.h"
#include "parallel/monitor.h"

namespace orrery {

TEST(World, without_a_launcher_is_one_rank_and_every_collective_copies) {
  World world;
  EXPECT_EQ(world.size(), 1);
  EXPECT_EQ(world.rank(), 0);
  EXPECT_EQ(world.local_rank(), 0);
  EXPECT_EQ(world.num_nodes(), 1);
  Comm& comm = world.comm();
  const at::Tensor in = at::arange(6, at::kFloat);
  at::Tensor x = in.clone(), out = at::zeros({6}, at::kFloat);
  comm.all_reduce(x, ReduceOp::mean, "x").wait();
  EXPECT_TRUE(at::equal(x, in));
  comm.all_gather(out, in, "x").wait();
  EXPECT_TRUE(at::equal(out, in));
  out.zero_();
  comm.reduce_scatter(out, in, ReduceOp::sum, "x").wait();
  EXPECT_TRUE(at::equal(out, in));
  out.zero_();
  comm.all_to_all(out, in, "x").wait();
  EXPECT_TRUE(at::equal(out, in));
  comm.barrier("x").wait();
  EXPECT_EQ(comm.split(3, 0, "part")->size(), 1);
  EXPECT_THROW(World(), Error);  // a second one
}

TEST(World, run_world_returns_the_bodys_code) {
  EXPECT_EQ(run_world({}, [](World&) { return 4; }), 4);
}

TEST(WorldDeathTest, run_world_ends_with_the_exceptions_code_and_message) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_EXIT(run_world({}, [](World&) -> int { throw Error("no such file", Exit::bad_data); }),
              testing::ExitedWithCode(3), "orrery: no such file");
  EXPECT_EXIT(run_world({}, [](World&) -> int { throw std::bad_alloc(); }), testing::ExitedWithCode(4),
              "out of memory");
}

TEST(World, bad_options_are_refused) {
  EXPECT_THROW(World({.timeout_s = 0}), Error);
  EXPECT_THROW(World({.max_message_bytes = int64_t{1} << 31}), Error);
}

TEST(Reduce, bfloat16_is_summed_in_float32_and_rounded_once) {
  // 1 + 3 * 2^-8: each half step alone would be rounded away in bfloat16 (8 bits).
  std::vector<c10::BFloat16> rows[4] = {{1.f}, {0.00390625f}, {0.00390625f}, {0.00390625f}};
  std::vector<const void*> pointers;
  for (const auto& row : rows) pointers.push_back(row.data());
  c10::BFloat16 sum;
  reduce_rows(&sum, pointers, 1, at::kBFloat16, ReduceOp::sum);
  EXPECT_EQ(static_cast<float>(sum), 1.015625f);  // 1.01171875 is half way: to even
}

TEST(Monitor, the_same_failure_is_printed_once_and_causes_go_first) {
  const Verdict verdict = judge({{2, Exit::peer_lost, "timed out"},
                                 {0, Exit::peer_lost, "timed out"},
                                 {3, Exit::bad_data, "broken film"}},
                                4);
  EXPECT_EQ(verdict.code, Exit::bad_data);
  EXPECT_EQ(verdict.text, "orrery: rank 3 of 4: broken film\norrery: ranks 0 and 2 of 4: timed out\n");
  EXPECT_EQ(judge({{1, Exit::bad_input, "x"}, {0, Exit::bad_input, "x"}}, 2).text,
            "orrery: all 2 ranks: x\n");
}

TEST(Monitor, many_ranks_are_counted_not_listed) {
  std::vector<int> ranks(100);
  for (int i = 0; i < 100; ++i) ranks[i] = i;
  EXPECT_THAT(name_ranks(ranks, 4096), testing::EndsWith("15 and 84 more of 4096"));
}

TEST(Monitor, missing_ranks_are_told_from_those_that_arrived) {
  const std::map<int, RankProgress> known = {{4, {.issued = 7, .call = "barrier 'x'", .where = ""}},
                                             {5, {.issued = 6, .call = "", .where = "at step 3"}},
                                             {6, {.issued = 7, .call = "all_gather 'w'", .where = ""}}};
  EXPECT_EQ(missing_ranks({3, 4, 5, 6, 8}, 3, known, 7, "barrier 'x'"),
            "rank 5 has not arrived; at step 3; rank 6 called all_gather 'w' instead; rank 8 does not answer "
            "(stopped, or its host or network is lost)");
  EXPECT_THAT(missing_ranks({3, 4}, 3, known, 7, "barrier 'x'"), testing::StartsWith("all ranks arrived"));
}

TEST(Mesh, an_axis_of_zero_takes_what_the_others_leave) {
  EXPECT_EQ(resolve_mesh({.replicate = 0, .shard = 2, .context = 2}, 8).replicate, 2);
  EXPECT_EQ(resolve_mesh({.replicate = 1, .shard = 0, .context = 1}, 7).shard, 7);
}

TEST(Mesh, shapes_that_do_not_fit_are_refused) {
  EXPECT_THROW(resolve_mesh({.replicate = 2, .shard = 2}, 8), Error);
  EXPECT_THROW(resolve_mesh({.replicate = 0, .shard = 3}, 8), Error);
  EXPECT_THROW(resolve_mesh({.replicate = 0, .shard = 0}, 8), Error);
  EXPECT_THROW(resolve_mesh({.replicate = -1, .shard = -8}, 8), Error);
  EXPECT_THROW(resolve_mesh({.replicate = 1 << 30, .shard = 1 << 30, .context = 16}, 8), Error);
}

TEST(Mesh, ranks_are_placed_node_by_node) {
  EXPECT_EQ(mesh_order({0, 1, 0, 1}),
            (std::vector<int>{0, 2, 1, 3}));  // a launcher that deals ranks out in turn
}

}  // namespace orrery
