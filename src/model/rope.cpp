#include "model/rope.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/sin.h>

#include <cmath>

#include "base/error.h"
#include "ops/numeric.h"

namespace orrery {
namespace {

at::Tensor frequencies(const at::Tensor& exponents, int64_t dim, double ratio) {
  const double theta = 10000 * std::pow(ratio, static_cast<double>(dim) / static_cast<double>(dim - 2));
  return at::exp(to_acc(exponents) * -std::log(theta));
}

at::Tensor positions(int64_t first, int64_t count, const at::Tensor& options_of) {
  return at::arange(first, first + count, options_of.options());
}

}  // namespace

RopeDims rope_dims(int64_t head_dim) {
  const int64_t spatial = head_dim / 6 * 2;
  require(head_dim % 2 == 0 && spatial > 2 && head_dim - 2 * spatial > 2, "rope: head dim ", head_dim,
          ", wanted an even number of at least 12");
  return {head_dim - 2 * spatial, spatial, spatial};
}

RopeTable rope_table(const RopeConfig& config, const at::Tensor& exponents_t, const at::Tensor& exponents_s,
                     int64_t first_frame, int64_t frames, int64_t rows, int64_t columns,
                     const at::Tensor& fps) {
  const RopeDims dims = rope_dims(config.head_dim);
  const at::Tensor ft = frequencies(exponents_t, dims.t, config.ratio_t);
  const at::Tensor fh = frequencies(exponents_s, dims.h, config.ratio_h);
  const at::Tensor fw = frequencies(exponents_s, dims.w, config.ratio_w);
  at::Tensor t = positions(first_frame, frames, ft);
  if (config.fps_modulation) {
    require(fps.defined() || frames == 1, "rope: fps modulation needs the frame rate of a clip of ", frames,
            " frames");
    if (fps.defined()) {
      require(frames == 1 || fps.eq(fps[0]).all().item<bool>(),
              "rope: fps modulation needs one frame rate a batch");
      t = t / to_acc(fps[0]) * config.base_fps;
    }
  }
  const at::Tensor at = t.unsqueeze(1) * ft, ah = positions(0, rows, fh).unsqueeze(1) * fh,
                   aw = positions(0, columns, fw).unsqueeze(1) * fw;
  const auto spread = [&](const at::Tensor& a) { return a.expand({frames, rows, columns, a.size(-1)}); };
  const at::Tensor angles = at::cat({spread(at.view({frames, 1, 1, -1})), spread(ah.view({1, rows, 1, -1})),
                                     spread(aw.view({1, 1, columns, -1}))},
                                    -1)
                                .reshape({frames * rows * columns, -1});
  return {angles, at::cos(angles), at::sin(angles)};
}

}  // namespace orrery
