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
  materialize_buffers(device, dtype);
}

void Module::materialize_buffers(at::Device device, at::ScalarType dtype) {
  for (Buffer* b : buffers())
    b->set_value(b->value().to(device, b->value().is_floating_point() ? dtype : b->value().scalar_type()));
}

void Module::initialize(uint64_t seed) {
  for (Parameter* p : parameters()) {
    at::Tensor target = p->value();
    require(!target.is_meta(), "initialize: ", p->key(), " has no storage: call materialize first");
    const int64_t rows = p->shape().empty() ? 1 : p->shape()[0];
    target.copy_(initial_rows(p->init(), p->shape(), 0, rows, p->key(), seed));
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

at::Tensor initial_rows(const Init& init, const Shape& shape, int64_t begin, int64_t end,
                        const std::string& key, uint64_t seed) {
  const Rng rng(seed, "init:" + key);
  Shape part = shape;
  if (!part.empty()) part[0] = end - begin;
  const int64_t row = shape.empty() ? 1 : c10::multiply_integers(shape.begin() + 1, shape.end());
  switch (init.kind) {
    case Init::Kind::zeros:
      return at::zeros(part);
    case Init::Kind::ones:
      return at::ones(part);
    case Init::Kind::normal:
      return rng.normal_elements(begin * row, end * row).mul_(init.std).view(part);
    case Init::Kind::truncated_normal: {
      // Inverse of the normal distribution on (Phi(-3), Phi(3)): z = sqrt(2) erfinv(u), u uniform on
      // +-erf(3/sqrt 2).
      const double bound = std::erf(3 / std::sqrt(2.0));
      at::Tensor u = rng.uniform_elements(begin * row, end * row).mul_(2 * bound).sub_(bound);
      return u.erfinv_().mul_(std::sqrt(2.0) * init.std).clamp_(-3 * init.std, 3 * init.std).view(part);
    }
  }
  fail("unknown initial distribution for ", key);
}

}  // namespace orrery
