#pragma once
// Variable: a handle to a tensor that ops take and give. It joins three things with lives of their own:
//   Value     the tensor itself. A module may free it and fill it again (FSDP), and the tape may evict it and
//   make it
//             again from its producer (recompute), so nodes hold Values, never tensors.
//   GradSlot  where gradients of this variable are summed; outlives the value, so that a backward pass that
//   does not
//             need the value does not keep it in memory.
//   tangent   the directional derivative in forward mode, undefined = zero.
#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

namespace orrery {

struct Node;

using Shape = std::vector<int64_t>;
using Tensors = std::vector<at::Tensor>;

struct Value {
  at::Tensor tensor;  // undefined while evicted or freed
  Node* producer =
      nullptr;  // the op that can make it again: set inside recompute units, null once the tape is gone
  bool is_leaf = true;     // not made by a recorded op
  bool is_result = false;  // result of a recompute unit: not evicted with the rest

  // The tensor; recomputes it if it was evicted. Throws Error if it was freed by its owner.
  const at::Tensor& get();
};

struct GradSlot {
  bool needs_grad = false;
  Shape shape;
  at::ScalarType dtype = at::kFloat;
  bool is_leaf = true;       // of no recorded op's result: the gradient outlives the backward pass
  at::Tensor grad;           // undefined = zero so far
  bool grad_is_own = false;  // nobody else holds grad's storage: further sums may be done in place

  // Adds d (same shape and dtype, else Error) to grad.
  void accumulate(const at::Tensor& d);
  at::Tensor take();  // moves the gradient out and leaves zero
};

class Variable {
 public:
  Variable() = default;
  explicit Variable(at::Tensor value, bool needs_grad = false);

  bool defined() const { return value_ != nullptr; }
  const at::Tensor& value() const { return value_->get(); }
  const Shape& shape() const { return slot_->shape; }
  int64_t size(int64_t dim) const;
  int64_t dim() const { return static_cast<int64_t>(slot_->shape.size()); }
  at::ScalarType dtype() const { return slot_->dtype; }

  bool needs_grad() const { return slot_->needs_grad; }
  const at::Tensor& grad() const { return slot_->grad; }
  void set_needs_grad(bool needs) { slot_->needs_grad = needs; }
  void clear_grad() const { slot_->take(); }
  // Replaces the value of a leaf (same shape); gradients keep flowing to the same slot.
  void set_value(at::Tensor value);

  const at::Tensor& tangent() const { return tangent_; }
  Variable with_tangent(at::Tensor tangent) const;
  // The same value, cut off from gradient and tangent.
  Variable detached() const;

  const std::shared_ptr<Value>& value_ref() const { return value_; }
  const std::shared_ptr<GradSlot>& slot() const { return slot_; }

 private:
  std::shared_ptr<Value> value_;
  std::shared_ptr<GradSlot> slot_;
  at::Tensor tangent_;
};

using Variables = std::vector<Variable>;

}  // namespace orrery
