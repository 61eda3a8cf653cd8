#include "ops/embedding.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/embedding_dense_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/sin.h>

#include <cmath>

#include "autograd/tape.h"
#include "base/error.h"
#include "ops/numeric.h"

namespace orrery {
namespace {

class TimestepEmbedding final : public Op {
 public:
  explicit TimestepEmbedding(int64_t channels) : half_(channels / 2) {}
  std::string_view name() const override { return "timestep_embedding"; }

  Tensors forward(const Tensors& in) const override {
    const at::Tensor angle = to_acc(in[0]).unsqueeze(-1) * frequencies(in[0]);
    return {at::cat({at::cos(angle), at::sin(angle)}, -1)};
  }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    return {(derivative(s.in(0)) * dout[0]).sum(-1).to(s.in_dtype(0))};
  }
  Tensors jvp(const Saved& s, const Tensors& t) const override {
    return {derivative(s.in(0)) * to_acc(t[0]).unsqueeze(-1)};
  }

 private:
  at::Tensor frequencies(const at::Tensor& t) const {
    const at::Tensor index = at::arange(half_, t.options().dtype(acc_type(t.scalar_type())));
    return at::exp(index * (-std::log(10000.0) / static_cast<double>(half_)));
  }
  at::Tensor derivative(const at::Tensor& t) const {
    const at::Tensor w = frequencies(t), angle = to_acc(t).unsqueeze(-1) * w;
    return at::cat({-at::sin(angle) * w, at::cos(angle) * w}, -1);
  }
  int64_t half_;
};

class Embedding final : public Op {
 public:
  explicit Embedding(at::Tensor ids) : ids_(std::move(ids)) {}
  std::string_view name() const override { return "embedding"; }
  bool saves_input(size_t) const override { return false; }
  Tensors forward(const Tensors& in) const override {
    if (!in[0].is_meta()) return {at::embedding(in[0], ids_)};
    Shape shape = ids_.sizes().vec();  // ATen has it not for meta tensors
    shape.push_back(in[0].size(1));
    return {at::empty(shape, in[0].options())};
  }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    return {at::embedding_dense_backward(dout[0], ids_, s.in_shape(0)[0], /*padding_idx=*/-1, false)};
  }
  Tensors jvp(const Saved&, const Tensors& t) const override { return {at::embedding(t[0], ids_)}; }

 private:
  at::Tensor ids_;
};

}  // namespace

Variable ops::timestep_embedding(const Variable& t, int64_t channels) {
  require(channels > 0 && channels % 2 == 0, "timestep_embedding: ", channels,
          " channels, wanted an even number");
  return apply_op(std::make_shared<TimestepEmbedding>(channels), {t})[0];
}

Variable ops::embedding(const at::Tensor& ids, const Variable& table) {
  require(ids.scalar_type() == at::kLong && table.dim() == 2, "embedding: ids are ", ids.scalar_type(),
          ", the table ", at::IntArrayRef(table.shape()), "; wanted int64 and (V,D)");
  if (ids.numel() > 0 && ids.is_cpu())  // on a GPU the kernel checks, and the host need not wait
    require(ids.min().item<int64_t>() >= 0 && ids.max().item<int64_t>() < table.size(0),
            "embedding: ids from ", ids.min().item<int64_t>(), " to ", ids.max().item<int64_t>(),
            ", the table has ", table.size(0), " rows");
  return apply_op(std::make_shared<Embedding>(ids), {table})[0];
}

}  // namespace orrery
