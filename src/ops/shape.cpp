#include "ops/shape.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include "autograd/tape.h"
#include "base/error.h"

namespace orrery {
namespace {

class Reshape final : public Op {
 public:
  explicit Reshape(Shape shape) : shape_(std::move(shape)) {}
  std::string_view name() const override { return "reshape"; }
  bool saves_input(size_t) const override { return false; }
  Tensors forward(const Tensors& in) const override { return {in[0].reshape(shape_)}; }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    return {dout[0].reshape(s.in_shape(0))};
  }
  Tensors jvp(const Saved&, const Tensors& t) const override { return forward(t); }

 private:
  Shape shape_;
};

class Rearrange final : public Op {
 public:
  Rearrange(Shape split, Shape order, Shape merged)
      : split_(std::move(split)),
        order_(std::move(order)),
        merged_(std::move(merged)),
        inverse_(order_.size()) {
    for (size_t i = 0; i < order_.size(); ++i) {
      inverse_[order_[i]] = static_cast<int64_t>(i);
      permuted_.push_back(split_[order_[i]]);
    }
  }
  std::string_view name() const override { return "rearrange"; }
  bool saves_input(size_t) const override { return false; }
  Tensors forward(const Tensors& in) const override {
    return {in[0].reshape(split_).permute(order_).reshape(merged_)};
  }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    return {dout[0].reshape(permuted_).permute(inverse_).reshape(s.in_shape(0))};
  }
  Tensors jvp(const Saved&, const Tensors& t) const override { return forward(t); }

 private:
  Shape split_, order_, merged_, inverse_, permuted_;
};

class Chunk final : public Op {
 public:
  Chunk(int64_t count, int64_t dim) : count_(count), dim_(dim) {}
  std::string_view name() const override { return "chunk"; }
  size_t num_results() const override { return static_cast<size_t>(count_); }
  bool saves_input(size_t) const override { return false; }
  Tensors forward(const Tensors& in) const override { return in[0].chunk(count_, dim_); }
  Tensors backward(const Saved&, const Tensors& dout) const override { return {at::cat(dout, dim_)}; }
  Tensors jvp(const Saved&, const Tensors& t) const override { return forward(t); }

 private:
  int64_t count_, dim_;
};

class Concat final : public Op {
 public:
  explicit Concat(int64_t dim) : dim_(dim) {}
  std::string_view name() const override { return "concat"; }
  bool saves_input(size_t) const override { return false; }
  Tensors forward(const Tensors& in) const override { return {at::cat(in, dim_)}; }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    Tensors out;
    int64_t begin = 0;
    for (size_t i = 0; i < s.num_inputs(); ++i) {
      const int64_t length = s.in_shape(i)[dim_];
      out.push_back(dout[0].narrow(dim_, begin, length));
      begin += length;
    }
    return out;
  }
  Tensors jvp(const Saved&, const Tensors& t) const override { return forward(t); }

 private:
  int64_t dim_;
};

class Slice final : public Op {
 public:
  Slice(int64_t dim, int64_t begin, int64_t end) : dim_(dim), begin_(begin), end_(end) {}
  std::string_view name() const override { return "slice"; }
  bool saves_input(size_t) const override { return false; }
  Tensors forward(const Tensors& in) const override { return {in[0].slice(dim_, begin_, end_)}; }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    at::Tensor dx = at::zeros(s.in_shape(0), dout[0].options());
    dx.slice(dim_, begin_, end_).copy_(dout[0]);
    return {dx};
  }
  Tensors jvp(const Saved&, const Tensors& t) const override { return forward(t); }

 private:
  int64_t dim_, begin_, end_;
};

int64_t checked_dim(std::string_view op, const Variable& x, int64_t dim) {
  const int64_t at = dim < 0 ? dim + x.dim() : dim;
  require(at >= 0 && at < x.dim(), op, ": dimension ", dim, " of ", at::IntArrayRef(x.shape()));
  return at;
}

}  // namespace

Variable ops::reshape(const Variable& x, const Shape& shape) {
  return apply_op(std::make_shared<Reshape>(shape), {x})[0];
}

Variable ops::rearrange(const Variable& x, const Shape& split, const Shape& order, const Shape& merged) {
  require(split.size() == order.size(), "rearrange: ", split.size(), " dimensions, order of ", order.size());
  return apply_op(std::make_shared<Rearrange>(split, order, merged), {x})[0];
}

Variables ops::chunk(const Variable& x, int64_t count, int64_t dim) {
  const int64_t at = checked_dim("chunk", x, dim);
  require(x.size(at) % count == 0, "chunk: size ", x.size(at), " does not divide by ", count);
  return apply_op(std::make_shared<Chunk>(count, at), {x});
}

Variable ops::concat(const Variables& parts, int64_t dim) {
  require(!parts.empty(), "concat: no parts");
  const int64_t at = checked_dim("concat", parts[0], dim);
  for (const Variable& part : parts)
    require(part.dtype() == parts[0].dtype() && part.dim() == parts[0].dim(),
            "concat: parts of different type or rank");
  return apply_op(std::make_shared<Concat>(at), parts)[0];
}

Variable ops::slice(const Variable& x, int64_t dim, int64_t begin, int64_t end) {
  const int64_t at = checked_dim("slice", x, dim);
  require(0 <= begin && begin < end && end <= x.size(at), "slice: [", begin, ", ", end, ") of size ",
          x.size(at));
  return apply_op(std::make_shared<Slice>(at, begin, end), {x})[0];
}

}  // namespace orrery
