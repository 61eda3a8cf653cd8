#include "parallel/fsdp.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/memory.h"
#include "parallel/fsdp_unit.h"

namespace orrery {
namespace {

std::string unit_name(const Module& module) {
  return module.path().empty() ? "rest" : module.path();
}

}  // namespace

Fsdp::Fsdp(Comm& shard, Comm& replicate, at::Device device, const FsdpConfig& config)
    : shard_(shard), replicate_(replicate), device_(device), config_(config) {
  require(config.prefetch >= 0, "fsdp: prefetch of ", config.prefetch, " units, wanted 0 or more");
}

Fsdp::~Fsdp() = default;

void Fsdp::attach(Module& module, bool reshard_after_forward) {
  const MemoryTag tag(MemoryUse::weights);
  std::set<const Parameter*> taken(parameters_.begin(), parameters_.end());
  std::vector<size_t> places;
  for (Parameter* p : module.parameters()) {
    if (taken.count(p)) continue;
    for (const Parameter* other : parameters_)
      require(p->variable().value_ref() != other->variable().value_ref(), "fsdp: ", p->key(), " of unit ",
              unit_name(module), " is ", other->key(),
              " of another unit: a shared parameter belongs to one unit");
    require(!p->shape().empty() && p->shape()[0] > 0, "fsdp: ", p->key(), " has shape ",
            at::IntArrayRef(p->shape()), ", wanted at least one row");
    const RowRange rows = shard_rows(p->shape()[0], shard_.rank(), shard_.size());
    Shape local = p->shape();
    local[0] = rows.size();
    places.push_back(weights_.size());
    parameters_.push_back(p);
    weights_.push_back(
        {p->key(), p->shape(), rows.begin, at::empty(local, at::device(device_).dtype(config_.shard_dtype))});
    // The dtype of the gathered weights, without their storage.
    p->variable().set_value(at::empty(p->shape(), at::device(at::kMeta).dtype(config_.compute_dtype)));
    p->variable().value_ref()->tensor.reset();
  }
  require(!places.empty(), "fsdp: no parameter is left for unit ", unit_name(module),
          " (attach inner units before outer ones, and each once)");
  gradients_.resize(weights_.size());
  units_.push_back(std::make_shared<FsdpUnit>(*this, unit_name(module), places, reshard_after_forward));
  module.hooks.push_back(units_.back());
}

void Fsdp::require_complete(const Module& root) const {
  const std::set<const Parameter*> taken(parameters_.begin(), parameters_.end());
  for (const Parameter* p : root.parameters())
    require(taken.count(p) == 1, "fsdp: ", p->key(), " belongs to no unit");
}

void Fsdp::initialize(uint64_t seed) {
  for (size_t i = 0; i < weights_.size(); ++i) {
    const ShardView& w = weights_[i];
    const int64_t end = w.begin + w.local.size(0);
    w.local.copy_(initial_rows(parameters_[i]->init(), w.shape, w.begin, end, w.name, seed));
  }
  release();
}

void Fsdp::gather_ahead(const FsdpUnit& unit, int64_t direction) {
  const auto here =
      std::find_if(units_.begin(), units_.end(), [&](const auto& u) { return u.get() == &unit; });
  const int64_t at = here - units_.begin();
  for (int64_t i = 1; i <= config_.prefetch; ++i) {
    const int64_t next = at + i * direction;
    if (next >= 0 && next < num_units()) units_[static_cast<size_t>(next)]->start_gather();
  }
}

// A unit's reduction takes two steps: this lets the unit before last end and the last one go on to the
// replicas.
void Fsdp::advance_reductions() {
  if (FsdpUnit* unit = std::exchange(replicating_, nullptr)) unit->finish_all_reduce();
  if (FsdpUnit* unit = std::exchange(scattering_, nullptr))
    if (unit->finish_reduce_scatter()) replicating_ = unit;
}

std::vector<at::Tensor> Fsdp::take_gradients() {
  const MemoryTag tag(MemoryUse::gradients);
  advance_reductions();
  advance_reductions();
  std::vector<at::Tensor> out(weights_.size());
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (!parameters_[i]->variable().needs_grad()) continue;
    out[i] = gradients_[i].defined() ? std::move(gradients_[i]) : at::zeros_like(weights_[i].local);
    gradients_[i].reset();
  }
  return out;
}

void Fsdp::release() {
  for (const auto& unit : units_) unit->release();
}

at::Tensor Fsdp::whole(const ShardView& view) const {
  const int64_t row = c10::multiply_integers(view.shape.begin() + 1, view.shape.end());
  Counts counts;
  for (int r = 0; r < shard_.size(); ++r)
    counts.push_back(shard_rows(view.shape[0], r, shard_.size()).size() * row);
  require(view.local.numel() == counts[static_cast<size_t>(shard_.rank())], "fsdp: ", view.name, " has ",
          view.local.sizes(), " here, wanted its share of ", at::IntArrayRef(view.shape));
  if (shard_.size() == 1) return view.local;
  at::Tensor out = at::empty(view.shape, view.local.options());
  shard_.all_gather(out.view({-1}), view.local.contiguous().view({-1}), counts, text_of("whole ", view.name))
      .wait();
  return out;
}

int64_t Fsdp::largest_unit() const {
  int64_t largest = 0;
  for (const auto& unit : units_) largest = std::max(largest, unit->whole_numel());
  return largest;
}

}  // namespace orrery
