#include "ops/conv_input.h"

#include "autograd/tape.h"
#include "base/error.h"
#include "ops/channel_norm.h"
#include "ops/kernels.h"
#include "ops/upsample.h"

namespace orrery {
namespace {

constexpr int64_t kTime = 2, kRows = 3;  // axes

using ops::Around;

class WithHalo final : public Op {
 public:
  WithHalo(const Halo& halo, const RowExchange* rows) : halo_(halo), rows_(rows) {}
  std::string_view name() const override { return "with_halo"; }
  bool saves_input(size_t) const override { return false; }
  bool takes_undefined() const override { return true; }

  Tensors forward(const Tensors& in) const override { return {joined(in[0], in[1], rows_)}; }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    require_whole_pictures();
    const int64_t frames = s.in_shape(0)[kTime], known = s.in_shape(1).empty() ? 0 : s.in_shape(1)[kTime];
    const at::Tensor dx =
        dout[0].narrow(kTime, halo_.frames, frames).narrow(kRows, halo_.above, s.in_shape(0)[kRows]);
    return {dx, known > 0 ? dout[0].narrow(kTime, halo_.frames - known, known) : at::Tensor()};
  }
  Tensors jvp(const Saved& s, const Tensors& t) const override {
    require_whole_pictures();
    const at::Tensor& some = t[0].defined() ? t[0] : t[1];
    if (!some.defined()) return {at::Tensor()};
    const at::Tensor tx = t[0].defined() ? t[0] : some.new_zeros(s.in_shape(0));
    return {joined(tx, t[1], nullptr)};
  }

 private:
  at::Tensor joined(const at::Tensor& x, const at::Tensor& history, const RowExchange* rows) const {
    at::Tensor buffer = kernels::halo_buffer(x, history, x.sizes(), halo_);
    const at::Tensor frames = buffer.narrow(kTime, halo_.frames, x.size(kTime));
    frames.narrow(kRows, halo_.above, x.size(kRows)).copy_(x);
    if (rows) rows->fill(frames, halo_.above, halo_.below);
    return buffer;
  }
  void require_whole_pictures() const {
    require(!rows_, "with_halo: no derivatives where ranks share pictures");
  }

  Halo halo_;
  const RowExchange* rows_;
};

void check(const Variable& x, const Shape& result, const Around& around) {
  const Halo& halo = around.halo;
  require(x.dim() == 5 && halo.frames >= 0 && halo.above >= 0 && halo.below >= 0, "with_halo: x ",
          at::IntArrayRef(x.shape()), ", wanted (B,C,T,H,W), and a halo of ", halo.frames, " frames, ",
          halo.above, " and ", halo.below, " rows");
  if (!around.history.defined()) return;
  const Variable& history = around.history;
  Shape wanted = result;
  wanted[kRows] += halo.above + halo.below;
  if (history.dim() == 5) wanted[kTime] = history.size(kTime);
  require(history.shape() == wanted && wanted[kTime] <= halo.frames && history.dtype() == x.dtype(),
          "with_halo: history ", at::IntArrayRef(history.shape()), " ", history.dtype(), " for x ",
          at::IntArrayRef(result), " ", x.dtype(), " and a halo of ", halo.frames, " frames, ", halo.above,
          " and ", halo.below, " rows");
}

}  // namespace

Variable ops::with_halo(const Variable& x, const Around& around) {
  check(x, x.shape(), around);
  const Halo& halo = around.halo;
  if (halo.frames == 0 && halo.above == 0 && halo.below == 0) return x;
  return apply_op(std::make_shared<WithHalo>(halo, around.rows), {x, around.history})[0];
}

Variable ops::channel_norm_silu_with_halo(const Variable& x, const Variable& gamma, const Around& around) {
  return with_halo(channel_norm_silu(x, gamma), around);
}

Variable ops::upsample_nearest_with_halo(const Variable& x, int64_t factor, const Around& around) {
  return with_halo(upsample_nearest(x, factor), around);
}

}  // namespace orrery
