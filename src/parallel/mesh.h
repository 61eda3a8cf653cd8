#pragma once
// The ranks as a grid of replicate x shard x context, and a Comm along each axis and each pair of axes. One
// sample's tokens are split along `context` (Ulysses), the parameters along `shard` and `context` together
// (FSDP); along `replicate` they are the same. Context varies fastest, so that its groups are neighbours and
// share a node where they can.
#include <array>
#include <functional>
#include <initializer_list>

#include "parallel/world.h"

namespace orrery {

enum class Axis : int { replicate, shard, context };

struct MeshShape {
  int replicate = 1, shard = 1, context = 1;
  int size() const { return replicate * shard * context; }
};

// Fills in one axis given as 0 and checks the product against the number of ranks; Error names parallel.*.
MeshShape resolve_mesh(MeshShape shape, int num_ranks);

// Ranks in the order in which they take their places in the grid: node by node, by rank inside a node.
std::vector<int> mesh_order(const std::vector<int>& node_of);

// A group of ranks that the mesh needs a Comm for: their numbers in order, and which of them is this one.
struct MeshGroup {
  std::string name = {};  // "shard-context"
  std::vector<int> members = {};
  int rank = 0;
};
using CommFactory = std::function<std::unique_ptr<Comm>(const MeshGroup& group)>;

class Mesh {
 public:
  Mesh(World& world, MeshShape shape);  // all ranks call it
  // Of any Comm; node_of gives the node of each of its ranks.
  Mesh(Comm& all, const std::vector<int>& node_of, MeshShape shape);
  // As rank `rank` of node_of.size() would make it, with the factory's Comms: for plans.
  Mesh(int rank, const std::vector<int>& node_of, MeshShape shape, const CommFactory& make_comm);

  const MeshShape& shape() const { return shape_; }
  int coordinate(Axis axis) const { return coordinates_[static_cast<size_t>(axis)]; }
  bool context_inside_node() const { return context_inside_node_; }  // for every group

  Comm& replicate() const { return along({Axis::replicate}); }
  Comm& shard() const { return along({Axis::shard}); }
  Comm& context() const { return along({Axis::context}); }
  Comm& data() const { return along({Axis::replicate, Axis::shard}); }  // ranks that hold different samples
  // Ranks whose coordinates differ in these axes alone; rank in it: the last axis varies fastest.
  Comm& along(std::initializer_list<Axis> axes) const;

 private:
  MeshShape shape_;
  std::array<int, 3> coordinates_{};
  bool context_inside_node_ = true;
  std::array<std::shared_ptr<Comm>, 8> comms_;  // by the set of axes as bits; equal groups share one
};

}  // namespace orrery
