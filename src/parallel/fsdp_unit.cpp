#include "parallel/fsdp_unit.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "autograd/tape.h"
#include "base/error.h"
#include "base/memory.h"
#include "parallel/copy_each.h"

namespace orrery {
namespace {

// Parameters begin at multiples of 16 bytes in any type, for wide accesses of copies and of matrix products.
int64_t spaced(int64_t numel) {
  constexpr int64_t kStep = 8;
  return (numel + kStep - 1) / kStep * kStep;
}

// Calls copy(part of the whole parameter, where it lies in (ranks, piece)) for the ranks that hold a full
// chunk, together, and for the one that holds less.
template <class Copy>
void for_each_part(int64_t rows, int64_t row, int64_t chunk, const at::Tensor& whole,
                   const at::Tensor& columns, const Copy& copy) {
  const int64_t full = rows / chunk, rest = rows - full * chunk;
  if (full > 0)
    copy(whole.narrow(0, 0, full * chunk * row).view({full, chunk * row}), columns.narrow(0, 0, full));
  if (rest > 0)
    copy(whole.narrow(0, full * chunk * row, rest * row), columns.select(0, full).narrow(0, 0, rest * row));
}

bool has_other_users(const at::Tensor& grad) {
  return grad.use_count() > 1 || grad.storage().use_count() > 1;
}
// grad itself if it has the type and is not shared; otherwise new memory that `copies` is to fill.
at::Tensor owned(at::Tensor grad, at::ScalarType dtype, bool is_shared, TensorPairs& copies) {
  if (grad.scalar_type() == dtype && grad.is_contiguous() && !is_shared) return grad;
  at::Tensor copy = at::empty(grad.sizes(), grad.options().dtype(dtype));
  copies.add(copy, std::move(grad));
  return copy;
}

}  // namespace

FsdpUnit::FsdpUnit(Fsdp& owner, std::string name, const std::vector<size_t>& weights,
                   bool reshard_after_forward)
    : owner_(owner),
      name_(std::move(name)),
      reshard_after_forward_(reshard_after_forward),
      is_alias_(owner.shard_.size() == 1 && owner.config_.shard_dtype == owner.config_.compute_dtype) {
  for (const size_t weight : weights) {
    const Shape& shape = owner.weights_[weight].shape;
    Place place{};
    place.weight = weight;
    place.rows = shape[0];
    place.row = c10::multiply_integers(shape.begin() + 1, shape.end());
    place.chunk = (place.rows + owner.shard_.size() - 1) / owner.shard_.size();
    place.whole_offset = whole_numel_;
    place.piece_offset = piece_numel_;
    const bool is_trained = owner.parameters_[weight]->variable().needs_grad();
    place.grad_offset = is_trained ? grad_piece_numel_ : -1;
    whole_numel_ += spaced(place.rows * place.row);
    piece_numel_ += spaced(place.chunk * place.row);
    if (is_trained) grad_piece_numel_ += spaced(place.chunk * place.row);
    places_.push_back(place);
  }
  kept_.resize(places_.size());
  if (!is_alias_) return;
  for (const Place& place : places_)
    owner.parameters_[place.weight]->variable().set_value(owner.weights_[place.weight].local);
}

at::Tensor FsdpUnit::empty(at::IntArrayRef shape, at::ScalarType dtype) const {
  return at::empty(shape, at::device(owner_.device_).dtype(dtype));
}

// The rows of this rank inside a piece.
at::Tensor FsdpUnit::mine(const Place& place, const at::Tensor& piece, int64_t offset) const {
  const at::Tensor& local = owner_.weights_[place.weight].local;
  return piece.narrow(0, offset, local.numel()).view(local.sizes());
}

void FsdpUnit::start_gather() {
  if (is_alias_ || whole_.defined() || pieces_.defined()) return;
  const MemoryTag tag(MemoryUse::gathered);
  pieces_ = empty({owner_.shard_.size(), piece_numel_}, owner_.config_.compute_dtype);
  const at::Tensor piece = pieces_.select(0, owner_.shard_.rank());
  TensorPairs copies;
  for (const Place& place : places_)
    copies.add(mine(place, piece, place.piece_offset), owner_.weights_[place.weight].local);
  copy_each(copies);
  gathering_ = owner_.shard_.all_gather(pieces_.view({-1}), piece, text_of("gather ", name_));
}

void FsdpUnit::finish_gather() {
  if (is_alias_ || whole_.defined()) return;
  start_gather();
  gathering_.wait();
  const MemoryTag tag(MemoryUse::gathered);
  whole_ = empty({whole_numel_}, owner_.config_.compute_dtype);
  TensorPairs copies;
  for (const Place& place : places_)
    for_each_part(place.rows, place.row, place.chunk,
                  whole_.narrow(0, place.whole_offset, place.rows * place.row),
                  pieces_.narrow(1, place.piece_offset, place.chunk * place.row),
                  [&](const at::Tensor& whole, const at::Tensor& pieces) { copies.add(whole, pieces); });
  copy_each(copies);
  copies = {};
  pieces_.reset();
  set_values();
}

void FsdpUnit::set_values() {
  for (const Place& place : places_)
    owner_.parameters_[place.weight]->variable().set_value(
        whole_.narrow(0, place.whole_offset, place.rows * place.row)
            .view(owner_.weights_[place.weight].shape));
}

void FsdpUnit::release() {
  if (is_alias_) return;
  gathering_.wait();
  pieces_.reset();
  whole_.reset();
  for (const Place& place : places_) owner_.parameters_[place.weight]->variable().value_ref()->tensor.reset();
}

void FsdpUnit::before_forward() {
  finish_gather();
  owner_.gather_ahead(*this, 1);
}

void FsdpUnit::after_forward() {
  if (reshard_after_forward_ || !Recording::current()) release();
}

void FsdpUnit::before_backward() {
  finish_gather();
  owner_.gather_ahead(*this, -1);
}

void FsdpUnit::after_backward() {
  const MemoryTag tag(MemoryUse::gradients);
  Tensors grads;
  for (const Place& place : places_)
    grads.push_back(owner_.parameters_[place.weight]->variable().slot()->take());
  release();
  if (grad_piece_numel_ == 0) return;
  if (owner_.is_last_micro_batch_ || owner_.config_.reduce_each_micro_batch) {
    start_reduction(std::move(grads));
  } else {
    keep(std::move(grads));
  }
}

void FsdpUnit::keep(Tensors grads) {
  const at::ScalarType dtype = owner_.config_.compute_dtype == at::kDouble ? at::kDouble : at::kFloat;
  for (size_t i = 0; i < places_.size(); ++i) {
    if (places_[i].grad_offset < 0 || !grads[i].defined()) continue;
    if (kept_[i].defined())
      kept_[i].add_(grads[i]);
    else
      kept_[i] = grads[i].to(dtype, /*non_blocking=*/false, has_other_users(grads[i])).contiguous();
    grads[i].reset();  // one after the other: whole gradients are large
  }
}

void FsdpUnit::start_reduction(Tensors grads) {
  for (size_t i = 0; i < places_.size(); ++i) {
    if (!kept_[i].defined()) continue;
    if (grads[i].defined()) kept_[i].add_(grads[i]);
    grads[i] = std::move(kept_[i]);
    kept_[i].reset();
  }
  if (owner_.shard_.size() == 1 && owner_.replicate_.size() == 1) return add_to_gradients(std::move(grads));
  owner_.advance_reductions();
  grad_pieces_ = empty({owner_.shard_.size(), grad_piece_numel_}, owner_.config_.reduce_dtype);
  TensorPairs copies;
  for (size_t i = 0; i < places_.size(); ++i) {
    const Place& place = places_[i];
    if (place.grad_offset < 0) continue;
    const at::Tensor columns = grad_pieces_.narrow(1, place.grad_offset, place.chunk * place.row);
    if (!grads[i].defined()) {
      columns.zero_();
      continue;
    }
    for_each_part(place.rows, place.row, place.chunk, grads[i].reshape({-1}), columns,
                  [&](const at::Tensor& whole, const at::Tensor& pieces) { copies.add(pieces, whole); });
    grads[i].reset();
  }
  copy_each(copies);
  copies = {};
  grad_piece_ = owner_.shard_.size() == 1 ? grad_pieces_.view({-1})
                                          : empty({grad_piece_numel_}, owner_.config_.reduce_dtype);
  if (owner_.shard_.size() > 1)
    reducing_ = owner_.shard_.reduce_scatter(grad_piece_, grad_pieces_.view({-1}), ReduceOp::mean,
                                             text_of("reduce ", name_));
  owner_.scattering_ = this;
}

bool FsdpUnit::finish_reduce_scatter() {
  reducing_.wait();
  grad_pieces_.reset();
  if (owner_.replicate_.size() == 1) {
    finish_all_reduce();
    return false;
  }
  reducing_ = owner_.replicate_.all_reduce(grad_piece_, ReduceOp::mean, text_of("reduce replicas ", name_));
  return true;
}

void FsdpUnit::finish_all_reduce() {
  reducing_.wait();
  Tensors grads(places_.size());
  for (size_t i = 0; i < places_.size(); ++i)
    if (places_[i].grad_offset >= 0) grads[i] = mine(places_[i], grad_piece_, places_[i].grad_offset);
  add_to_gradients(std::move(grads));
  grad_piece_.reset();
}

// By place. On a run of one rank a gradient may share its storage with others, elsewhere it does with the
// rest of its piece, which is nobody else's.
void FsdpUnit::add_to_gradients(Tensors grads) {
  TensorPairs copies, sums;
  for (size_t i = 0; i < places_.size(); ++i) {
    if (places_[i].grad_offset < 0 || !grads[i].defined()) continue;
    at::Tensor& sum = owner_.gradients_[places_[i].weight];
    const bool is_shared = !grad_piece_.defined() && has_other_users(grads[i]);
    if (sum.defined())
      sums.add(sum, std::move(grads[i]));
    else
      sum = owned(std::move(grads[i]), owner_.config_.shard_dtype, is_shared, copies);
  }
  copy_each(copies);
  add_each(sums);
}

}  // namespace orrery
