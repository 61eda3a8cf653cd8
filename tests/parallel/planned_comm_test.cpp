#include "parallel/planned_comm.h"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

constexpr Links kLinks{.inside = 100, .between = 10, .inside_latency = 0, .between_latency = 0};

at::Tensor bytes(int64_t count) {
  return at::empty({count}, at::device(at::kMeta).dtype(at::kByte));
}

TEST(PlannedComm, a_collective_takes_its_bytes_over_its_link) {
  using Kind = Collective::Kind;
  EXPECT_DOUBLE_EQ(collective_seconds(Kind::all_gather, 800, 8, 1, kLinks), 7.0);
  EXPECT_DOUBLE_EQ(collective_seconds(Kind::all_reduce, 800, 8, 1, kLinks), 14.0);
  EXPECT_DOUBLE_EQ(collective_seconds(Kind::all_to_all, 800, 8, 1, kLinks), 7.0);
  // Two nodes of four: four edges share the 700 bytes that cross; all_to_all sends half of all across.
  EXPECT_DOUBLE_EQ(collective_seconds(Kind::reduce_scatter, 800, 8, 2, kLinks), 700 / 4.0 / 10);
  EXPECT_DOUBLE_EQ(collective_seconds(Kind::all_to_all, 800, 8, 2, kLinks), 40.0);
  // One rank a node: nothing stays inside.
  EXPECT_DOUBLE_EQ(collective_seconds(Kind::all_gather, 800, 8, 8, kLinks), 70.0);
  const Links slow{.inside = 100, .between = 10, .inside_latency = 1, .between_latency = 2};
  EXPECT_DOUBLE_EQ(collective_seconds(Kind::barrier, 0, 8, 1, slow), 1);
  EXPECT_DOUBLE_EQ(collective_seconds(Kind::all_gather, 0, 8, 2, slow), 14);
  EXPECT_DOUBLE_EQ(collective_seconds(Kind::all_reduce, 0, 8, 2, slow), 12);
}

TEST(PlannedComm, waiting_shows_only_what_computation_did_not_hide) {
  PlanClock clock;
  PlannedNetwork network(clock, kLinks, std::vector<int>(4, 0));
  const Mesh mesh = network.mesh(0, {1, 4, 1});
  Work first = mesh.shard().all_gather(bytes(400), bytes(100), "gather a");   // 3 s
  Work second = mesh.shard().all_gather(bytes(400), bytes(100), "gather b");  // behind the first
  clock.compute(2);
  first.wait();
  EXPECT_DOUBLE_EQ(clock.now(), 3);
  clock.compute(10);
  second.wait();
  EXPECT_DOUBLE_EQ(clock.now(), 13);
  EXPECT_DOUBLE_EQ(clock.waited(), 1);
  ASSERT_EQ(network.collectives().size(), 2u);
  EXPECT_EQ(network.collectives()[1].label, "gather b");
  EXPECT_EQ(network.collectives()[1].bytes, 400);
}

TEST(PlannedComm, groups_have_lines_of_their_own) {
  PlanClock clock;
  PlannedNetwork network(clock, kLinks, std::vector<int>(4, 0));
  const Mesh mesh = network.mesh(0, {1, 2, 2});
  Work shard = mesh.shard().all_gather(bytes(400), bytes(200), "a");      // 2 s
  Work context = mesh.context().all_gather(bytes(400), bytes(200), "b");  // 2 s, at the same time
  shard.wait();
  context.wait();
  EXPECT_DOUBLE_EQ(clock.now(), 2);
}

TEST(PlannedComm, the_mesh_of_a_planned_rank_has_the_groups_of_a_real_one) {
  PlanClock clock;
  std::vector<int> node_of(32);
  for (int r = 0; r < 32; ++r) node_of[static_cast<size_t>(r)] = r / 8;
  PlannedNetwork network(clock, kLinks, node_of);
  const Mesh mesh = network.mesh(13, {2, 4, 4});
  EXPECT_EQ(mesh.coordinate(Axis::context), 1);
  EXPECT_EQ(mesh.coordinate(Axis::shard), 3);
  EXPECT_EQ(mesh.coordinate(Axis::replicate), 0);
  EXPECT_TRUE(mesh.context_inside_node());
  EXPECT_EQ(mesh.along({Axis::shard, Axis::context}).size(), 16);
  EXPECT_EQ(mesh.along({Axis::shard, Axis::context}).rank(), 13);
  mesh.replicate().all_reduce(bytes(8).to(at::kFloat), ReduceOp::sum, "x").wait();
  EXPECT_EQ(network.collectives().back().nodes, 2);
}

TEST(PlannedComm, arguments_are_checked_as_by_any_comm) {
  PlanClock clock;
  PlannedNetwork network(clock, kLinks, std::vector<int>(2, 0));
  const Mesh mesh = network.mesh(0, {1, 2, 1});
  EXPECT_THROW((void)mesh.shard().all_gather(bytes(5), bytes(2), "odd"), Error);
  EXPECT_THROW((void)mesh.shard().all_reduce(at::empty({2}), ReduceOp::sum, "on the cpu"), Error);
  EXPECT_THROW((void)mesh.shard().split(0, 0, "part"), Error);
}

}  // namespace
}  // namespace orrery
