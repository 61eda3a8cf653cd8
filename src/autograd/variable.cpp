#include "autograd/variable.h"

#include <ATen/ops/add.h>

#include "autograd/tape.h"
#include "base/error.h"
#include "base/memory.h"

namespace orrery {

const at::Tensor& Value::get() {
  if (!tensor.defined()) {
    require(producer != nullptr,
            "a value was read after its owner freed it: a unit's weights outside the unit, or an "
            "activation after its tape was consumed");
    producer->recompute();
  }
  return tensor;
}

void GradSlot::accumulate(const at::Tensor& d) {
  require(d.sizes() == at::IntArrayRef(shape) && d.scalar_type() == dtype, "gradient of shape ", d.sizes(),
          " and type ", d.scalar_type(), " for a variable of shape ", at::IntArrayRef(shape), " and type ",
          dtype);
  if (!grad.defined()) {
    grad = d;
    grad_is_own = false;
  } else if (grad_is_own) {
    grad.add_(d);
  } else {
    grad = at::add(grad, d);
    grad_is_own = true;
  }
  if (is_leaf) retag(grad, MemoryUse::gradients);
}

at::Tensor GradSlot::take() {
  at::Tensor out = std::move(grad);
  grad.reset();
  grad_is_own = false;
  return out;
}

Variable::Variable(at::Tensor value, bool needs_grad)
    : value_(std::make_shared<Value>()), slot_(std::make_shared<GradSlot>()) {
  slot_->needs_grad = needs_grad;
  slot_->shape = value.sizes().vec();
  slot_->dtype = value.scalar_type();
  value_->tensor = std::move(value);
}

int64_t Variable::size(int64_t dim) const {
  const auto rank = static_cast<int64_t>(slot_->shape.size());
  return slot_->shape.at(static_cast<size_t>(dim < 0 ? dim + rank : dim));
}

void Variable::set_value(at::Tensor value) {
  require(value.sizes() == at::IntArrayRef(slot_->shape), "set_value: shape ", value.sizes(),
          " for a variable of shape ", at::IntArrayRef(slot_->shape));
  slot_->dtype = value.scalar_type();
  value_->tensor = std::move(value);
}

Variable Variable::with_tangent(at::Tensor tangent) const {
  require(!tangent.defined() || tangent.sizes() == at::IntArrayRef(slot_->shape), "tangent of shape ",
          tangent.sizes(), " for a variable of shape ", at::IntArrayRef(slot_->shape));
  Variable out = *this;
  out.tangent_ = std::move(tangent);
  return out;
}

Variable Variable::detached() const {
  Variable out = *this;
  out.tangent_.reset();
  out.slot_ = std::make_shared<GradSlot>();
  out.slot_->shape = slot_->shape;
  out.slot_->dtype = slot_->dtype;
  return out;
}

}  // namespace orrery
