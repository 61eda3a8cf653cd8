#include "model/wan_tokenizer.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <numeric>

#include "autograd/tape.h"
#include "base/error.h"

namespace orrery {
namespace {

constexpr int64_t kChannels = 16;  // of wan_latent_scale

at::TensorOptions weight_options(const WanVae& net) {
  const std::vector<Parameter*> parameters = net.parameters();
  const at::TensorOptions options = parameters.at(0)->value().options();
  for (const Parameter* p : parameters)
    require(p->value().device() == options.device() && p->value().dtype() == options.dtype(),
            "wan vae: ", p->key(), " is ", p->value().dtype(), " on ", p->value().device(), ", others ",
            options.dtype(), " on ", options.device());
  return options;
}

// A GPU's convolutions read weights with the input channels innermost; others would be copied at each call.
void lay_out_for_gpu(WanVae& net) {
  for (Parameter* p : net.parameters()) {
    const int64_t dims = p->value().dim();
    if (dims != 4 && dims != 5) continue;
    const auto format = dims == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::ChannelsLast3d;
    p->variable().set_value(p->value().contiguous(format));
  }
}

}  // namespace

WanTokenizer::WanTokenizer(std::unique_ptr<WanVae> net, const WanWindows& windows,
                           std::shared_ptr<const RowExchange> rows)
    : net_(std::move(net)),
      windows_(windows),
      options_(weight_options(*net_)),
      scale_(wan_latent_scale(options_.dtype().toScalarType(), options_.device())),
      exchange_(std::move(rows)) {
  require(net_->config.z_dim == kChannels, "wan vae: latents of ", net_->config.z_dim, " channels, wanted ",
          kChannels, ": mean and deviation of others are not known");
  require(windows.encode >= 1 && windows.encode % temporal_factor() == 0, "wan vae: windows of ",
          windows.encode, " frames, wanted a multiple of ", temporal_factor());
  require(windows.decode >= 1, "wan vae: windows of ", windows.decode, " latent frames, wanted at least 1");
  if (options_.device().is_cuda()) lay_out_for_gpu(*net_);
}

WanTokenizer::Rows WanTokenizer::rows_of(const at::Tensor& whole, int64_t latent_rows) const {
  if (exchange_) exchange_->require_same(whole.sizes().vec(), options_.device(), "sizes of films");
  if (!exchange_ || latent_rows < exchange_->size()) return {.share = {}, .begin = 0, .count = latent_rows};
  Rows rows{.share = share_rows(exchange_, latent_rows)};
  const auto& heights = rows.share.heights;
  const auto mine = heights.begin() + exchange_->rank();
  rows.begin = std::accumulate(heights.begin(), mine, int64_t{0});
  rows.count = *mine;
  return rows;
}

at::Tensor WanTokenizer::encode(const at::Tensor& video) const {
  check_video(video, temporal_factor(), spatial_factor());
  return encode_rows(video, rows_of(video, video.size(3) / spatial_factor()));
}

at::Tensor WanTokenizer::encode_alone(const at::Tensor& video) const {
  check_video(video, temporal_factor(), spatial_factor());
  return encode_rows(video, {.share = {}, .begin = 0, .count = video.size(3) / spatial_factor()});
}

at::Tensor WanTokenizer::encode_rows(const at::Tensor& video, const Rows& rows) const {
  const NoRecording guard;
  const int64_t side = spatial_factor();
  const at::Tensor local = video.narrow(3, rows.begin * side, rows.count * side);
  FrameCache cache(rows.share);
  Tensors latents;
  for (const auto [begin, end] : film_parts(video.size(2), windows_.encode)) {
    const at::Tensor part = local.narrow(2, begin, end - begin).to(options_.device());
    const Variable x(values_of_pixels(part, options_.dtype().toScalarType()));
    latents.push_back(scale_.normalise(net_->encode_part(x, cache)).value().to(at::kFloat));
  }
  const at::Tensor all = at::cat(latents, 2);
  const RowExchange* const exchange = rows.share.exchange.get();
  return (exchange ? exchange->gather(all, rows.share.heights) : all).contiguous();
}

at::Tensor WanTokenizer::decode(const at::Tensor& latents) const {
  check_latents(latents, channels());
  const NoRecording guard;
  const Variable z = scale_.denormalise(Variable(latents.to(options_)));
  const int64_t side = spatial_factor(), frames = pixel_frames(latents.size(2));
  const Rows rows = rows_of(latents, latents.size(3));
  std::vector<int64_t> heights = rows.share.heights;
  for (int64_t& height : heights) height *= side;
  // Colours side by side, as films are written: whole frames then come from the device in one piece.
  constexpr auto kLayout = at::MemoryFormat::ChannelsLast3d;
  at::Tensor film = at::empty({latents.size(0), 3, frames, latents.size(3) * side, latents.size(4) * side},
                              latents.options().dtype(at::kByte), kLayout);
  FrameCache cache(rows.share);
  int64_t done = 0;
  for (const auto [begin, end] : film_parts(latents.size(2), windows_.decode)) {
    const Variable part(z.value().narrow(2, begin, end - begin).narrow(3, rows.begin, rows.count));
    at::Tensor pixels = pixels_of_values(net_->decode_part(part, cache).value());
    if (rows.share.exchange) pixels = rows.share.exchange->gather(pixels, heights);
    film.narrow(2, done, pixels.size(2)).copy_(pixels.contiguous(kLayout));
    done += pixels.size(2);
  }
  return film;
}

}  // namespace orrery
