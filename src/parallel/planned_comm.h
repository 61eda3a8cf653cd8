#pragma once
// Collectives of a plan: a Comm on meta tensors that moves nothing, writes down what would travel and lets a
// simulated clock run. The program that is planned runs as one rank, alone; the others are taken to do the
// same at the same time. Used by plan/dry_run.
//
// Time of a collective of n ranks, g of them on each node, `bytes` = the larger of its two tensors:
//   all_gather, reduce_scatter  (n-1)/n bytes inside a node at `inside` a rank, and over the nodes' edge at
//                               `between` a rank times the g ranks that share the work; the slower counts
//   all_reduce                  twice that
//   all_to_all                  (g-1)/n bytes at `inside` and (n-g)/n bytes at `between`; the slower counts
//   broadcast                   bytes at the slower of the two
// and a latency a step: n-1 steps (rings), 2 ceil(log2 n) for all_reduce (trees), 1 for the others. `inside`
// is what nccl-tests call bus bandwidth. Traffic of several groups at one time is not slowed down by one
// another.
#include "parallel/mesh.h"

namespace orrery {

struct Links {
  double inside = 1, between = 1;                  // bytes a second and rank, in each direction
  double inside_latency = 0, between_latency = 0;  // seconds
};

struct PlannedCollective {
  Collective::Kind kind;
  std::string label, group;  // "gather blocks.7", "shard-context"
  int64_t bytes = 0;
  int ranks = 0, nodes = 0;  // in the group
  double seconds = 0;
};

// Of one rank: a line of computation, and one of communication a group.
class PlanClock {
 public:
  double now() const { return now_; }
  void compute(double seconds) { now_ += seconds; }
  void wait_until(double moment);
  double waited() const { return waited_; }  // communication that nothing hid

 private:
  double now_ = 0, waited_ = 0;
};

// The ranks of a plan and what they sent.
class PlannedNetwork {
 public:
  PlannedNetwork(PlanClock& clock, const Links& links, std::vector<int> node_of);

  Mesh mesh(int rank, MeshShape shape);
  const std::vector<PlannedCollective>& collectives() const { return collectives_; }
  const std::vector<int>& node_of() const { return node_of_; }

 private:
  friend class PlannedComm;
  PlanClock& clock_;
  Links links_;
  std::vector<int> node_of_;
  std::vector<PlannedCollective> collectives_;
};

// The formula above; nodes: of the group's ranks, which are spread evenly.
double collective_seconds(Collective::Kind kind, int64_t bytes, int ranks, int nodes, const Links& links);

}  // namespace orrery
