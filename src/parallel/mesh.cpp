#include "parallel/mesh.h"

#include <algorithm>
#include <numeric>

namespace orrery {
namespace {

constexpr const char* kAxisNames[] = {"replicate", "shard", "context"};

std::array<int, 3> coordinates_at(const MeshShape& shape, int place) {
  return {place / (shape.context * shape.shard), place / shape.context % shape.shard, place % shape.context};
}

std::string name_of_axes(unsigned axes) {
  std::string name;
  for (unsigned a = 0; a < 3; ++a)
    if (axes >> a & 1) name += text_of(name.empty() ? "" : "-", kAxisNames[a]);
  return name;
}

// The ranks whose coordinates differ from ours in these axes alone; the last axis varies fastest.
MeshGroup group_along(const MeshShape& shape, const std::array<int, 3>& mine, unsigned axes,
                      const std::vector<int>& order) {
  MeshGroup group{.name = name_of_axes(axes)};
  for (int place = 0; place < shape.size(); ++place) {
    const auto theirs = coordinates_at(shape, place);
    bool is_member = true;
    for (unsigned a = 0; a < 3; ++a) is_member = is_member && (axes >> a & 1 || theirs[a] == mine[a]);
    if (!is_member) continue;
    if (theirs == mine) group.rank = static_cast<int>(group.members.size());
    group.members.push_back(order[place]);
  }
  return group;
}

const std::vector<int>& checked_size(const std::vector<int>& node_of, int ranks) {
  require(static_cast<int>(node_of.size()) == ranks, "mesh: ", node_of.size(), " node numbers for ", ranks,
          " ranks");
  return node_of;
}

std::vector<int> nodes_of(const World& world) {
  std::vector<int> nodes;
  for (int r = 0; r < world.size(); ++r) nodes.push_back(world.node_of(r));
  return nodes;
}

// A communicator on GPUs costs half a GiB, so groups with the same ranks share one: axes of one rank add
// none. Only the exchanges of context parallelism have a line to themselves, since weights travel at the same
// time.
constexpr unsigned kContextBit = 1u << static_cast<unsigned>(Axis::context);
unsigned without_axes_of_one(const MeshShape& shape, unsigned axes) {
  const int sizes[] = {shape.replicate, shape.shard, shape.context};
  for (unsigned a = 0; a < 3; ++a)
    if (sizes[a] == 1) axes &= ~(1u << a);
  return axes;
}

}  // namespace

MeshShape resolve_mesh(MeshShape shape, int num_ranks) {
  int* const sizes[] = {&shape.replicate, &shape.shard, &shape.context};
  int64_t known = 1;
  int* open = nullptr;
  for (int a = 0; a < 3; ++a) {
    require(*sizes[a] >= 0 && *sizes[a] <= num_ranks, "parallel.", kAxisNames[a], " = ", *sizes[a], " with ",
            num_ranks, num_ranks == 1 ? " rank" : " ranks", " (wanted: 1 to ", num_ranks,
            ", or 0 for what the others leave)");
    if (*sizes[a] != 0) {
      known *= *sizes[a];
      continue;
    }
    require(!open, "more than one of parallel.replicate, parallel.shard and parallel.context is 0");
    open = sizes[a];
  }
  if (open && known <= num_ranks && num_ranks % known == 0) *open = static_cast<int>(num_ranks / known);
  require(open ? *open != 0 : known == num_ranks, "parallel.replicate x shard x context = ", shape.replicate,
          " x ", shape.shard, " x ", shape.context, " does not make ", num_ranks,
          num_ranks == 1 ? " rank" : " ranks", " (is the program started with the right number of ranks?)");
  return shape;
}

std::vector<int> mesh_order(const std::vector<int>& node_of) {
  std::vector<int> order(node_of.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return node_of[a] < node_of[b]; });
  return order;
}

Mesh::Mesh(World& world, MeshShape shape) : Mesh(world.comm(), nodes_of(world), shape) {}

// Ranks of one group share the number of its first; their order is that of their places.
Mesh::Mesh(Comm& all, const std::vector<int>& node_of, MeshShape shape)
    : Mesh(all.rank(), checked_size(node_of, all.size()), shape,
           [&](const MeshGroup& group) { return all.split(group.members.front(), group.rank, group.name); }) {
}

Mesh::Mesh(int rank, const std::vector<int>& node_of, MeshShape shape, const CommFactory& make_comm)
    : shape_(resolve_mesh(shape, static_cast<int>(node_of.size()))) {
  const auto order = mesh_order(node_of);
  const int place = static_cast<int>(std::find(order.begin(), order.end(), rank) - order.begin());
  coordinates_ = coordinates_at(shape_, place);
  for (int i = 0; i < shape_.size(); ++i)
    if (node_of[order[i]] != node_of[order[i / shape_.context * shape_.context]])
      context_inside_node_ = false;
  for (unsigned axes = 1; axes < comms_.size(); ++axes) {
    const unsigned same = without_axes_of_one(shape_, axes);
    comms_[axes] = same != axes && same != 0 && same != kContextBit
                       ? comms_[same]
                       : std::shared_ptr<Comm>(make_comm(group_along(shape_, coordinates_, axes, order)));
  }
}

Comm& Mesh::along(std::initializer_list<Axis> axes) const {
  unsigned bits = 0;
  for (const Axis axis : axes) bits |= 1u << static_cast<unsigned>(axis);
  require(bits != 0, "mesh: no axis given");
  return *comms_[bits];
}

}  // namespace orrery
