#pragma once
// Fully sharded data parallelism: every parameter is split on dimension 0 over the ranks of a group, and is
// whole only while its unit (a module call, usually a transformer block) runs. train/parallelize attaches it;
// the training step reads weights and gradients here; the optimizer works on the shards.
//
//   gather         before a unit's forward and backward: one all_gather of all its parameters, in the compute
//                  dtype, into one buffer; the parameters are views of it. The next units in order are
//                  gathered ahead (prefetch).
//   release        after forward (reshard_after_forward) and after backward: the buffer is freed at once.
//   reduce         after backward: one reduce_scatter of all gradients of the unit, in the reduce dtype,
//   then,
//                  with several replicas, an all_reduce of the piece. It runs while the next unit computes.
//
// Gradients are means over all ranks of both groups: each rank's loss is the mean over its part of the global
// batch. Results do not depend on prefetch, resharding or the order of units. At most two units' weights and
// two units' gradients are whole at a time with a prefetch of 1.
// Source: Zhao et al. 2023 (arXiv 2304.11277); PyTorch FSDP2 for the layout by parameter.
#include "autograd/module.h"
#include "base/shard.h"
#include "parallel/comm.h"

namespace orrery {

struct FsdpConfig {
  at::ScalarType shard_dtype = at::kFloat;    // of the weights at rest, which the optimizer updates
  at::ScalarType compute_dtype = at::kFloat;  // of the gathered weights
  at::ScalarType reduce_dtype = at::kFloat;   // gradients are summed over ranks in it
  int64_t prefetch = 1;                       // units gathered ahead of their use
  // Micro-batches before the last add up their gradients whole and travel with the last one; true: each
  // travels by itself.
  bool reduce_each_micro_batch = false;
};

class FsdpUnit;

class Fsdp {
 public:
  // shard: ranks over which each parameter is split. replicate: ranks that hold the same shard. Both outlive
  // it.
  Fsdp(Comm& shard, Comm& replicate, at::Device device, const FsdpConfig& config);
  ~Fsdp();
  Fsdp(const Fsdp&) = delete;
  Fsdp& operator=(const Fsdp&) = delete;

  // The module becomes a unit of all its parameters that no unit holds yet; inner units come first, units in
  // the order of their forward. Parameters go from the meta device to (uninitialised) shards. Throws Error if
  // nothing is left for it, or if a parameter's storage is shared with one of another unit.
  void attach(Module& module, bool reshard_after_forward);
  // After the last attach: throws Error if a parameter of root belongs to no unit.
  void require_complete(const Module& root) const;

  // Fills the shards with what Module::initialize gives; each rank makes its own rows only.
  void initialize(uint64_t seed);

  // This rank's shards of all parameters, in the order of attaching, under their keys; they share storage. A
  // change is seen by the next gather: call release() after it.
  const std::vector<ShardView>& weights() const { return weights_; }
  const std::vector<Parameter*>& parameters() const { return parameters_; }

  // Gradients of micro-batches before the last stay on the rank (see FsdpConfig).
  void set_last_micro_batch(bool is_last) { is_last_micro_batch_ = is_last; }
  // After the last backward of a step: waits for the reductions. One gradient a weight, in the order of
  // weights(), in the shard dtype (reduced in the reduce dtype); zeros where none arrived, undefined for
  // frozen ones. The next backward starts from zero.
  std::vector<at::Tensor> take_gradients();

  // Frees all gathered weights, also those that are kept between forward and backward.
  void release();

  // The whole tensor of which every rank holds the rows that weights() has for the same name (a moment, an
  // average), on the device of the run; local itself in a group of one. Collective over the shard group.
  at::Tensor whole(const ShardView& view) const;

  at::Device device() const { return device_; }
  int64_t num_units() const { return static_cast<int64_t>(units_.size()); }
  // Elements of the largest unit, whole.
  int64_t largest_unit() const;

 private:
  friend class FsdpUnit;
  void gather_ahead(const FsdpUnit& unit, int64_t direction);
  void advance_reductions();

  Comm& shard_;
  Comm& replicate_;
  at::Device device_;
  FsdpConfig config_;
  std::vector<std::shared_ptr<FsdpUnit>> units_;
  std::vector<ShardView> weights_;
  std::vector<Parameter*> parameters_;
  std::vector<at::Tensor> gradients_;  // by weight; undefined: none yet
  FsdpUnit* scattering_ = nullptr;     // the unit whose reduce_scatter is under way
  FsdpUnit* replicating_ = nullptr;    // the one before it, whose all_reduce is
  bool is_last_micro_batch_ = true;
};

}  // namespace orrery
