#pragma once
// One unit of Fsdp: the buffers of its weights and gradients, and when they travel. Only fsdp.cpp uses it.
//
// A piece is what one rank sends or gets for the whole unit: ceil(rows / ranks) rows of each parameter, one
// parameter after the other, the same length on every rank (the last ranks fill up with rows that nobody
// reads; nor does anybody read what lies between parameters). Collectives see (ranks, piece); the whole
// parameters lie one after the other in a buffer of their own.
#include "parallel/fsdp.h"

namespace orrery {

class FsdpUnit final : public ScopeHooks {
 public:
  // weights: places in owner.weights(). They keep their order, and so do the units.
  FsdpUnit(Fsdp& owner, std::string name, const std::vector<size_t>& weights, bool reshard_after_forward);

  void before_forward() override;
  void after_forward() override;
  void before_backward() override;
  void after_backward() override;

  void start_gather();
  void release();
  // The two stages of a reduction. The first returns whether the second is needed.
  bool finish_reduce_scatter();
  void finish_all_reduce();

  const std::string& name() const { return name_; }
  int64_t whole_numel() const { return whole_numel_; }

 private:
  struct Place {
    size_t weight;
    int64_t rows, row, chunk;  // of the whole parameter; elements of a row; rows of a piece
    int64_t whole_offset, piece_offset, grad_offset;  // elements; grad_offset: -1 for a frozen one
  };
  at::Tensor empty(at::IntArrayRef shape, at::ScalarType dtype) const;
  at::Tensor mine(const Place& place, const at::Tensor& piece, int64_t offset) const;
  void finish_gather();
  void set_values();
  void keep(Tensors grads);
  void start_reduction(Tensors grads);
  void add_to_gradients(Tensors grads);

  Fsdp& owner_;
  const std::string name_;
  const bool reshard_after_forward_;
  const bool is_alias_;  // the shard is the whole parameter in the compute dtype
  std::vector<Place> places_;
  int64_t whole_numel_ = 0, piece_numel_ = 0, grad_piece_numel_ = 0;

  at::Tensor pieces_;  // (ranks, piece) while a gather is under way
  at::Tensor whole_;   // gathered weights
  Work gathering_;
  Tensors kept_;            // gradients of earlier micro-batches, whole, by place
  at::Tensor grad_pieces_;  // (ranks, piece) while a reduction is under way
  at::Tensor grad_piece_;   // this rank's part
  Work reducing_;
};

}  // namespace orrery
