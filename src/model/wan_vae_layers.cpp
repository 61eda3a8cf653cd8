#include "model/wan_vae_layers.h"

#include <ATen/ops/zeros.h>

#include <cmath>

#include "base/error.h"
#include "ops/attention.h"
#include "ops/channel_norm.h"
#include "ops/conv3d.h"
#include "ops/shape.h"
#include "ops/upsample.h"

namespace orrery {
namespace {

constexpr int64_t kTime = 2;  // the axis

Init conv_init(int64_t fan_in) {
  return Init::truncated_normal(1 / std::sqrt(static_cast<double>(fan_in)));
}

Shape conv_shape(const CausalConv3dConfig& c) {
  return {c.out, c.in, c.kernel[0], c.kernel[1], c.kernel[2]};
}

Shape norm_shape(int64_t channels, int64_t axes) {
  Shape shape(static_cast<size_t>(axes) + 1, 1);
  shape[0] = channels;
  return shape;
}

CausalConv3dConfig cube(int64_t in, int64_t out) {
  return {.in = in, .out = out, .kernel = {3, 3, 3}, .padding = {1, 1, 1}};
}

Variable frames(const Variable& x, int64_t begin, int64_t end) {
  return ops::slice(x, kTime, begin, end);
}

// A copy: a view would keep all of x.
Variable last_frames(const Variable& x, int64_t count) {
  return ops::concat({frames(x, x.size(kTime) - count, x.size(kTime))}, kTime);
}

// Rows of zeros that are the neighbours' where the picture is shared: what the convolution reads, and the
// zeros that remain.
Halo row_halo(int64_t above, int64_t below, const FrameCache& cache) {
  return cache.rows() ? Halo{.above = above, .below = below} : Halo{};
}

// (B,C,T,H,W) with the tokens of a frame as (B,HW,1,C).
Variable tokens_of(const Variable& x) {
  const int64_t B = x.size(0), C = x.size(1), HW = x.size(3) * x.size(4);
  return ops::rearrange(x, {B, C, HW}, {0, 2, 1}, {B, HW, 1, C});
}

}  // namespace

RowShare share_rows(std::shared_ptr<const RowExchange> exchange, int64_t latent_rows) {
  const int64_t ranks = exchange->size();
  require(latent_rows >= ranks, "wan vae: ", latent_rows, " rows of latents for ", ranks,
          " ranks, wanted at least one each (fewer ranks, or larger pictures)");
  RowShare share{.exchange = std::move(exchange), .heights = {}};
  for (int64_t r = 0; r < ranks; ++r)
    share.heights.push_back(latent_rows / ranks + (r < latent_rows % ranks));
  return share;
}

int64_t FrameCache::bytes() const {
  int64_t total = 0;
  for (const auto& [reader, frames] : history_)
    if (frames.defined()) total += static_cast<int64_t>(frames.value().nbytes());
  return total;
}

ChannelNorm::ChannelNorm(Module* parent, std::string name, int64_t channels, int64_t axes)
    : Module(parent, std::move(name)), gamma(this, "gamma", norm_shape(channels, axes), Init::ones()) {}

Variable ChannelNorm::operator()(const Variable& x_BCTHW) const {
  const Scope scope(*this);
  return ops::channel_norm(x_BCTHW, gamma);
}

Variable ChannelNorm::silu(const Variable& x_BCTHW, const ops::Around& around) const {
  const Scope scope(*this);
  return ops::channel_norm_silu_with_halo(x_BCTHW, gamma, around);
}

CausalConv3d::CausalConv3d(Module* parent, std::string name, const CausalConv3dConfig& c)
    : VaeLayer(parent, std::move(name)),
      config(c),
      weight(this, "weight", conv_shape(c), conv_init(c.in * c.kernel[0] * c.kernel[1] * c.kernel[2])),
      bias(this, "bias", {c.out}, Init::zeros()) {}

Variable CausalConv3d::operator()(const Variable& x_BCTHW, FrameCache& cache) const {
  const Scope scope(*this);
  const Variable joined = ops::with_halo(x_BCTHW, around(cache));
  remember(joined, x_BCTHW.size(kTime), cache);
  return ops::conv3d(joined, Variable(), weight, bias, geometry(cache));
}

Variable CausalConv3d::operator()(const ChannelNorm& norm, const Variable& x_BCTHW, const Variable& residual,
                                  FrameCache& cache) const {
  const Variable joined = norm.silu(x_BCTHW, around(cache));
  const Scope scope(*this);
  remember(joined, x_BCTHW.size(kTime), cache);
  return residual.defined() ? ops::conv3d_add(joined, weight, bias, residual, geometry(cache))
                            : ops::conv3d(joined, Variable(), weight, bias, geometry(cache));
}

ops::Around CausalConv3d::around(FrameCache& cache) const {
  const auto [time, rows, columns] = config.padding;
  ops::Around out{.halo = row_halo(rows, rows, cache), .rows = rows > 0 ? cache.rows() : nullptr};
  out.halo.frames = 2 * time;
  if (time > 0) out.history = cache[*this];
  return out;
}

// joined: x and its halo; fresh: the frames of x.
void CausalConv3d::remember(const Variable& joined, int64_t fresh, FrameCache& cache) const {
  const int64_t most = 2 * config.padding[0];
  if (most == 0) return;
  Variable& history = cache[*this];
  const int64_t seen = (history.defined() ? history.size(kTime) : 0) + fresh;
  history = last_frames(joined, std::min(most, seen));
}

ConvGeometry CausalConv3d::geometry(const FrameCache& cache) const {
  const auto [time, rows, columns] = config.padding;
  const int64_t zeros = cache.rows() ? 0 : rows;
  return {.stride = config.stride, .pad_before = {0, zeros, columns}, .pad_after = {0, zeros, columns}};
}

Variable CausalConv3d::after(const Variable& history, const Variable& x_BCTHW) const {
  const Scope scope(*this);
  const int64_t before = history.defined() ? history.size(kTime) : 0;
  const Variable joined = ops::with_halo(x_BCTHW, {.history = history, .halo = {.frames = before}});
  return ops::conv3d(joined, Variable(), weight, bias, {.stride = config.stride});
}

FrameConv::FrameConv(Module* parent, std::string name, int64_t in, int64_t out, int64_t kernel)
    : Module(parent, std::move(name)),
      weight(this, "weight", {out, in, kernel, kernel}, conv_init(in * kernel * kernel)),
      bias(this, "bias", {out}, Init::zeros()) {}

Variable FrameConv::operator()(const Variable& x_BCTHW, int64_t stride, const Zeros& zeros,
                               const FrameCache& cache) const {
  const Scope scope(*this);
  const Halo halo = row_halo(zeros.before, zeros.after, cache);
  return of_input(ops::with_halo(x_BCTHW, {.halo = halo, .rows = cache.rows()}), stride, zeros, halo);
}

Variable FrameConv::of_upsampled(const Variable& x_BCTHW, int64_t factor, const Zeros& zeros,
                                 const FrameCache& cache) const {
  const Scope scope(*this);
  const Halo halo = row_halo(zeros.before, zeros.after, cache);
  return of_input(ops::upsample_nearest_with_halo(x_BCTHW, factor, {.halo = halo, .rows = cache.rows()}), 1,
                  zeros, halo);
}

Variable FrameConv::of_input(const Variable& joined, int64_t stride, const Zeros& zeros,
                             const Halo& halo) const {
  return ops::conv3d(joined, Variable(), weight_in_time(), bias,
                     {.stride = {1, stride, stride},
                      .pad_before = {0, zeros.before - halo.above, zeros.before},
                      .pad_after = {0, zeros.after - halo.below, zeros.after}});
}

Variable FrameConv::plus(const Variable& residual, const Variable& x_BCTHW) const {
  const Scope scope(*this);
  return ops::conv3d_add(x_BCTHW, weight_in_time(), bias, residual, {});
}

Variable FrameConv::weight_in_time() const {
  const Shape& w = weight.shape();
  return ops::reshape(weight, {w[0], w[1], 1, w[2], w[3]});
}

VaeResidualBlock::VaeResidualBlock(Module* parent, std::string name, int64_t in, int64_t out)
    : VaeLayer(parent, std::move(name)),
      norm1(this, "residual.0", in, 3),
      conv1(this, "residual.2", cube(in, out)),
      norm2(this, "residual.3", out, 3),
      conv2(this, "residual.6", cube(out, out)) {
  if (in != out)
    shortcut = std::make_unique<CausalConv3d>(this, "shortcut",
                                              CausalConv3dConfig{.in = in, .out = out, .kernel = {1, 1, 1}});
}

Variable VaeResidualBlock::operator()(const Variable& x_BCTHW, FrameCache& cache) const {
  const Scope scope(*this);
  const Variable y = conv1(norm1, x_BCTHW, Variable(), cache);
  return conv2(norm2, y, shortcut ? (*shortcut)(x_BCTHW, cache) : x_BCTHW, cache);
}

VaeAttention::VaeAttention(Module* parent, std::string name, int64_t channels)
    : VaeLayer(parent, std::move(name)),
      norm(this, "norm", channels, 2),
      to_qkv(this, "to_qkv", channels, 3 * channels, 1),
      proj(this, "proj", channels, channels, 1) {}

Variable VaeAttention::operator()(const Variable& x_BCTHW, FrameCache& cache) const {
  const Scope scope(*this);
  const Variable qkv = to_qkv(norm(x_BCTHW), 1, {0, 0}, cache);
  Variables attended;  // frame by frame: scores of one frame are in memory at a time
  for (int64_t t = 0; t < qkv.size(kTime); ++t) attended.push_back(attend(frames(qkv, t, t + 1), cache));
  return proj.plus(x_BCTHW, ops::concat(attended, kTime));
}

// Where ranks share the picture, a rank has the queries of its rows, and keys and values of all.
Variable VaeAttention::attend(const Variable& qkv_BCHW, const FrameCache& cache) const {
  const int64_t B = qkv_BCHW.size(0), C = qkv_BCHW.size(1) / 3, H = qkv_BCHW.size(3), W = qkv_BCHW.size(4);
  Variables qkv = ops::chunk(qkv_BCHW, 3, 1);
  if (cache.rows()) {
    const Variable all(cache.rows()->gather(qkv_BCHW.value().narrow(1, C, 2 * C), cache.share().heights));
    const Variables both = ops::chunk(all, 2, 1);
    std::copy(both.begin(), both.end(), qkv.begin() + 1);
  }
  for (Variable& part : qkv) part = tokens_of(part);  // (B,HW,1,C) each
  const Variable out = ops::attention(qkv[0], qkv[1], qkv[2]);
  return ops::rearrange(out, {B, H * W, C}, {0, 2, 1}, {B, C, 1, H, W});
}

VaeDownsample::VaeDownsample(Module* parent, std::string name, int64_t channels, bool time)
    : VaeLayer(parent, std::move(name)), resample(this, "resample.1", channels, channels, 3) {
  if (time)
    time_conv = std::make_unique<CausalConv3d>(
        this, "time_conv",
        CausalConv3dConfig{.in = channels, .out = channels, .kernel = {3, 1, 1}, .stride = {2, 1, 1}});
}

Variable VaeDownsample::operator()(const Variable& x_BCTHW, FrameCache& cache) const {
  const Scope scope(*this);
  const Variable x = resample(x_BCTHW, 2, {0, 1}, cache);
  if (!time_conv) return x;
  Variable& last = cache[*time_conv];
  const Variable before = last;
  const int64_t count = x.size(kTime);
  require((before.defined() ? count : count - 1) % 2 == 0, path(), ": ", count, " frames, wanted ",
          before.defined() ? "2 n after a film's first part" : "1 + 2 n at a film's beginning");
  last = last_frames(x, 1);
  if (before.defined()) return time_conv->after(before, x);
  if (count == 1) return x;
  return ops::concat({frames(x, 0, 1), time_conv->after(Variable(), x)}, kTime);
}

VaeUpsample::VaeUpsample(Module* parent, std::string name, int64_t channels, bool time)
    : VaeLayer(parent, std::move(name)), resample(this, "resample.1", channels, channels / 2, 3) {
  if (time)
    time_conv = std::make_unique<CausalConv3d>(
        this, "time_conv",
        CausalConv3dConfig{.in = channels, .out = 2 * channels, .kernel = {3, 1, 1}, .padding = {1, 0, 0}});
}

Variable VaeUpsample::operator()(const Variable& x_BCTHW, FrameCache& cache) const {
  const Scope scope(*this);
  Variable x = x_BCTHW;
  if (time_conv && cache[*time_conv].defined()) {
    x = doubled(x, cache);
  } else if (time_conv) {
    Shape unseen = x.shape();
    unseen[kTime] = 2;
    cache[*time_conv] = Variable(at::zeros(unseen, x.value().options()));
    const int64_t count = x.size(kTime);
    if (count > 1) x = ops::concat({frames(x, 0, 1), doubled(frames(x, 1, count), cache)}, kTime);
  }
  return resample.of_upsampled(x, 2, {1, 1}, cache);
}

Variable VaeUpsample::doubled(const Variable& x_BCTHW, FrameCache& cache) const {
  return ops::channels_to_frames((*time_conv)(x_BCTHW, cache), 2);
}

}  // namespace orrery
