#include "parallel/mesh.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "world.h"

namespace orrery {
namespace {

// World ranks of the members of comm.
std::vector<int64_t> members(Comm& comm) {
  at::Tensor all = at::empty({comm.size()}, at::kLong);
  comm.all_gather(all, at::full({1}, test_world().rank(), at::kLong), "members").wait();
  const int64_t* p = all.const_data_ptr<int64_t>();
  return {p, p + comm.size()};
}

std::vector<MeshShape> factorisations(int n) {
  std::vector<MeshShape> shapes;
  for (int r = 1; r <= n; ++r)
    for (int s = 1; s <= n; ++s)
      for (int c = 1; c <= n; ++c)
        if (r * s * c == n) shapes.push_back({r, s, c});
  return shapes;
}

void check_mesh(Comm& all, const MeshShape& shape) {
  const Mesh mesh(all, std::vector<int>(all.size(), 0), shape);
  const int r = mesh.coordinate(Axis::replicate), s = mesh.coordinate(Axis::shard),
            c = mesh.coordinate(Axis::context);
  const auto at = [&](int replicate, int shard, int context) {
    return int64_t{(replicate * shape.shard + shard) * shape.context + context};
  };
  EXPECT_EQ(at(r, s, c), all.rank());
  std::vector<int64_t> replicate, shard, context, data, hybrid;
  for (int i = 0; i < shape.replicate; ++i) replicate.push_back(at(i, s, c));
  for (int i = 0; i < shape.shard; ++i) shard.push_back(at(r, i, c));
  for (int i = 0; i < shape.context; ++i) context.push_back(at(r, s, i));
  for (int i = 0; i < shape.replicate; ++i)
    for (int j = 0; j < shape.shard; ++j) data.push_back(at(i, j, c));
  for (int i = 0; i < shape.replicate; ++i)
    for (int j = 0; j < shape.context; ++j) hybrid.push_back(at(i, s, j));
  EXPECT_EQ(members(mesh.replicate()), replicate);
  EXPECT_EQ(members(mesh.shard()), shard);
  EXPECT_EQ(members(mesh.context()), context);
  EXPECT_EQ(members(mesh.data()), data);
  EXPECT_EQ(members(mesh.along({Axis::context, Axis::replicate})), hybrid);
  EXPECT_EQ(mesh.along({Axis::replicate, Axis::shard, Axis::context}).size(), all.size());
}

}  // namespace

TEST(MeshMpi, every_factorisation_of_up_to_all_ranks) {
  Comm& world = test_world().comm();
  for (int n = 1; n <= world.size(); ++n) {
    const auto part = world.split(world.rank() < n, 0, "part");
    if (world.rank() >= n) continue;
    for (const MeshShape& shape : factorisations(n)) check_mesh(*part, shape);
  }
}

TEST(MeshMpi, context_groups_stay_inside_nodes_when_ranks_are_dealt_out_in_turn) {
  Comm& world = test_world().comm();
  if (world.size() < 4) GTEST_SKIP() << "needs two nodes of two ranks";
  std::vector<int> node_of(world.size());
  for (int r = 0; r < world.size(); ++r) node_of[r] = r % 2;
  const Mesh mesh(world, node_of, {.replicate = world.size() / 2, .context = 2});
  EXPECT_TRUE(mesh.context_inside_node());
  for (const int64_t r : members(mesh.context())) EXPECT_EQ(r % 2, world.rank() % 2);
  EXPECT_FALSE(Mesh(world, node_of, {.context = world.size()}).context_inside_node());
}

}  // namespace orrery
