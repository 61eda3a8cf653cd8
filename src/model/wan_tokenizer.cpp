#include "model/wan_tokenizer.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

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

}  // namespace

WanTokenizer::WanTokenizer(std::unique_ptr<WanVae> net, const WanWindows& windows)
    : net_(std::move(net)),
      windows_(windows),
      options_(weight_options(*net_)),
      scale_(wan_latent_scale(options_.dtype().toScalarType(), options_.device())) {
  require(net_->config.z_dim == kChannels, "wan vae: latents of ", net_->config.z_dim, " channels, wanted ",
          kChannels, ": mean and deviation of others are not known");
  require(windows.encode >= 1 && windows.encode % temporal_factor() == 0, "wan vae: windows of ",
          windows.encode, " frames, wanted a multiple of ", temporal_factor());
  require(windows.decode >= 1, "wan vae: windows of ", windows.decode, " latent frames, wanted at least 1");
}

at::Tensor WanTokenizer::encode(const at::Tensor& video) const {
  check_video(video, temporal_factor(), spatial_factor());
  const NoRecording guard;
  FrameCache cache;
  Tensors latents;
  for (const auto [begin, end] : film_parts(video.size(2), windows_.encode)) {
    const at::Tensor part = video.narrow(2, begin, end - begin).to(options_.device());
    const Variable x(values_of_pixels(part, options_.dtype().toScalarType()));
    latents.push_back(scale_.normalise(net_->encode_part(x, cache)).value().to(at::kFloat));
  }
  return at::cat(latents, 2);
}

at::Tensor WanTokenizer::decode(const at::Tensor& latents) const {
  check_latents(latents, channels());
  const NoRecording guard;
  const Variable z = scale_.denormalise(Variable(latents.to(options_)));
  const int64_t side = spatial_factor(), frames = pixel_frames(latents.size(2));
  at::Tensor film = at::empty({latents.size(0), 3, frames, latents.size(3) * side, latents.size(4) * side},
                              latents.options().dtype(at::kByte));
  FrameCache cache;
  int64_t done = 0;
  for (const auto [begin, end] : film_parts(latents.size(2), windows_.decode)) {
    const Variable part(z.value().narrow(2, begin, end - begin));
    const at::Tensor pixels = pixels_of_values(net_->decode_part(part, cache).value());
    film.narrow(2, done, pixels.size(2)).copy_(pixels);
    done += pixels.size(2);
  }
  return film;
}

}  // namespace orrery
