#include "autograd/module.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/erfinv.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "base/error.h"
#include "base/rng.h"

namespace orrery {
namespace {

std::string join(const std::string& path, const std::string& name) {
  return path.empty() ? name : path + "." + name;
}

}  // namespace

Module::Module(Module* parent, std::string name) : path_(join(parent->path_, name)) {
  parent->children_.push_back(this);
}

void Module::collect(std::vector<Parameter*>& into) const {
  into.insert(into.end(), parameters_.begin(), parameters_.end());
  for (const Module* child : children_) child->collect(into);
}

std::vector<Parameter*> Module::parameters() const {
  std::vector<Parameter*> out;
  collect(out);
  return out;
}

std::vector<Buffer*> Module::buffers() const {
  std::vector<Buffer*> out = buffers_;
  for (const Module* child : children_)
    for (Buffer* buffer : child->buffers()) out.push_back(buffer);
  return out;
}

void Module::for_each_module(const std::function<void(Module&)>& visit) {
  visit(*this);
  for (Module* child : children_) child->for_each_module(visit);
}

int64_t Module::num_parameters() const {
  int64_t count = 0;
  for (const Parameter* p : parameters()) count += c10::multiply_integers(p->shape());
  return count;
}

void Module::materialize(at::Device device, at::ScalarType dtype) {
  for (Parameter* p : parameters())
    p->variable().set_value(at::empty(p->shape(), at::device(device).dtype(dtype)));
  for (Buffer* b : buffers())
    b->set_value(b->value().to(device, b->value().is_floating_point() ? dtype : b->value().scalar_type()));
}

void Module::initialize(uint64_t seed) {
  for (Parameter* p : parameters()) {
    at::Tensor target = p->value();
    require(!target.is_meta(), "initialize: ", p->key(), " has no storage: call materialize first");
    target.copy_(initial_values(p->init(), p->shape(), p->key(), seed));
  }
}

void Module::set_needs_grad(bool needs) {
  for (Parameter* p : parameters()) p->variable().set_needs_grad(needs);
}

Parameter::Parameter(Module* owner, const std::string& name, Shape shape, Init init)
    : key_(join(owner->path_, name)),
      init_(init),
      variable_(at::empty(shape, at::device(at::kMeta).dtype(at::kFloat)), true) {
  owner->parameters_.push_back(this);
}

Buffer::Buffer(Module* owner, const std::string& name, at::Tensor initial)
    : key_(join(owner->path_, name)), value_(std::move(initial)) {
  owner->buffers_.push_back(this);
}

void Buffer::set_value(at::Tensor value) {
  require(value.sizes() == value_.sizes(), key_, ": buffer of shape ", value.sizes(), ", wanted ",
          value_.sizes());
  value_ = std::move(value);
}

at::Tensor initial_values(const Init& init, at::IntArrayRef shape, const std::string& key, uint64_t seed) {
  const Rng rng(seed, "init:" + key);
  switch (init.kind) {
    case Init::Kind::zeros:
      return at::zeros(shape);
    case Init::Kind::ones:
      return at::ones(shape);
    case Init::Kind::normal:
      return rng.normal_tensor(shape).mul_(init.std);
    case Init::Kind::truncated_normal: {
      // Inverse of the normal distribution on (Phi(-3), Phi(3)): z = sqrt(2) erfinv(u), u uniform on
      // +-erf(3/sqrt 2).
      const double bound = std::erf(3 / std::sqrt(2.0));
      at::Tensor u = rng.uniform_tensor(shape).mul_(2 * bound).sub_(bound);
      return u.erfinv_().mul_(std::sqrt(2.0) * init.std).clamp_(-3 * init.std, 3 * init.std);
    }
  }
  fail("unknown initial distribution for ", key);
}

}  // namespace orrery
