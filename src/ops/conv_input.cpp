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

at::Tensor buffer_of(const at::Tensor& x, const at::Tensor& history, const Halo& halo) {
  at::Tensor buffer = kernels::halo_buffer(x, history, x.sizes(), halo);
  buffer.narrow(kTime, halo.frames, x.size(kTime)).narrow(kRows, halo.above, x.size(kRows)).copy_(x);
  return buffer;
}

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
    at::Tensor buffer = buffer_of(x, history, halo_);
    if (rows) rows->fill(buffer.narrow(kTime, halo_.frames, x.size(kTime)), halo_.above, halo_.below);
    return buffer;
  }
  void require_whole_pictures() const {
    require(!rows_, "with_halo: no derivatives where ranks share pictures");
  }

  Halo halo_;
  const RowExchange* rows_;
};

// One kernel for what is before the convolution and the copy into its buffer. On GPUs, and in plans of them,
// of films that pass for good: no derivatives.
class FilledBuffer : public Op {
 public:
  FilledBuffer(const Halo& halo, const RowExchange* rows) : halo_(halo), rows_(rows) {}
  bool takes_undefined() const override { return true; }
  Tensors backward(const Saved&, const Tensors&) const override { fail(name(), ": it has no derivative"); }
  Tensors jvp(const Saved&, const Tensors&) const override { fail(name(), ": it has no derivative"); }

 protected:
  at::Tensor with_rows(const at::Tensor& buffer) const {
    if (rows_)
      rows_->fill(buffer.narrow(kTime, halo_.frames, buffer.size(kTime) - halo_.frames), halo_.above,
                  halo_.below);
    return buffer;
  }
  Halo halo_;

 private:
  const RowExchange* rows_;
};

class ChannelNormSiluWithHalo final : public FilledBuffer {
 public:
  using FilledBuffer::FilledBuffer;
  std::string_view name() const override { return "channel_norm_silu_with_halo"; }
  Tensors forward(const Tensors& in) const override {
    if (in[0].is_cuda())
      return {with_rows(kernels::cuda::channel_norm(in[0], in[1], /*has_silu=*/true, in[2], halo_))};
    return {with_rows(buffer_of(kernels::cpu::channel_norm(in[0], in[1], /*has_silu=*/true), in[2], halo_))};
  }
};

class UpsampleWithHalo final : public FilledBuffer {
 public:
  UpsampleWithHalo(int64_t factor, const Halo& halo, const RowExchange* rows)
      : FilledBuffer(halo, rows), factor_(factor) {}
  std::string_view name() const override { return "upsample_nearest_with_halo"; }
  Tensors forward(const Tensors& in) const override {
    if (in[0].is_cuda()) return {with_rows(kernels::cuda::upsample_nearest(in[0], factor_, in[1], halo_))};
    return {with_rows(buffer_of(kernels::cpu::upsample_nearest(in[0], factor_), in[1], halo_))};
  }

 private:
  int64_t factor_;
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
  if (!has_no_derivative({x, gamma, around.history}) || x.value().is_cpu())
    return with_halo(channel_norm_silu(x, gamma), around);
  check_norm(x, gamma);
  check(x, x.shape(), around);
  return apply_op(std::make_shared<ChannelNormSiluWithHalo>(around.halo, around.rows),
                  {x, gamma, around.history})[0];
}

Variable ops::upsample_nearest_with_halo(const Variable& x, int64_t factor, const Around& around) {
  if (!has_no_derivative({x, around.history}) || x.value().is_cpu())
    return with_halo(upsample_nearest(x, factor), around);
  require(x.dim() == 5 && factor >= 1, "upsample_nearest: factor ", factor, " for x ",
          at::IntArrayRef(x.shape()), ", wanted (B,C,T,H,W)");
  Shape result = x.shape();
  result[kRows] *= factor;
  result[kRows + 1] *= factor;
  check(x, result, around);
  return apply_op(std::make_shared<UpsampleWithHalo>(factor, around.halo, around.rows),
                  {x, around.history})[0];
}

}  // namespace orrery
