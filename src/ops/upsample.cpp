#include "ops/upsample.h"

#include "autograd/tape.h"
#include "base/error.h"
#include "ops/kernels.h"
#include "ops/numeric.h"

namespace orrery {
namespace {

class UpsampleNearest final : public Op {
 public:
  explicit UpsampleNearest(int64_t factor) : factor_(factor) {}
  std::string_view name() const override { return "upsample_nearest"; }
  bool saves_input(size_t) const override { return false; }

  Tensors forward(const Tensors& in) const override {
    const at::Tensor& x = in[0];
    if (x.is_cuda()) return {kernels::cuda::upsample_nearest(x, factor_, {}, {})};
    return {kernels::cpu::upsample_nearest(x, factor_)};
  }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    const Shape& x = s.in_shape(0);
    const at::Tensor squares = to_acc(dout[0]).reshape({x[0], x[1], x[2], x[3], factor_, x[4], factor_});
    return {squares.sum(at::IntArrayRef{4, 6}).to(s.in_dtype(0))};
  }
  Tensors jvp(const Saved&, const Tensors& t) const override { return forward(t); }

 private:
  int64_t factor_;
};

class ChannelsToFrames final : public Op {
 public:
  explicit ChannelsToFrames(int64_t factor) : factor_(factor) {}
  std::string_view name() const override { return "channels_to_frames"; }
  bool saves_input(size_t) const override { return false; }

  Tensors forward(const Tensors& in) const override {
    const at::Tensor& x = in[0];
    if (x.is_cuda()) return {kernels::cuda::channels_to_frames(x, factor_)};
    const at::Tensor parts = x.unflatten(1, {factor_, x.size(1) / factor_});  // (B,s,C,T,H,W)
    return {parts.permute({0, 2, 3, 1, 4, 5}).flatten(2, 3).contiguous()};
  }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    const at::Tensor frames = dout[0].unflatten(2, {s.in_shape(0)[2], factor_});  // (B,C,T,s,H,W)
    return {frames.permute({0, 3, 1, 2, 4, 5}).flatten(1, 2).contiguous()};
  }
  Tensors jvp(const Saved&, const Tensors& t) const override { return forward(t); }

 private:
  int64_t factor_;
};

}  // namespace

Variable ops::channels_to_frames(const Variable& x, int64_t factor) {
  require(x.dim() == 5 && factor >= 1 && x.size(1) % factor == 0, "channels_to_frames: factor ", factor,
          " for x ", at::IntArrayRef(x.shape()), ", wanted (B,factor*C,T,H,W)");
  return apply_op(std::make_shared<ChannelsToFrames>(factor), {x})[0];
}

Variable ops::upsample_nearest(const Variable& x, int64_t factor) {
  require(x.dim() == 5 && factor >= 1, "upsample_nearest: factor ", factor, " for x ",
          at::IntArrayRef(x.shape()), ", wanted (B,C,T,H,W)");
  return apply_op(std::make_shared<UpsampleNearest>(factor), {x})[0];
}

}  // namespace orrery
