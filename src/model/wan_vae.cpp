#include "model/wan_vae.h"

#include "base/error.h"
#include "ops/shape.h"

namespace orrery {
namespace {

constexpr int64_t kTime = 2;  // the axis

CausalConv3dConfig cube(int64_t in, int64_t out) {
  return {.in = in, .out = out, .kernel = {3, 3, 3}, .padding = {1, 1, 1}};
}

CausalConv3dConfig point(int64_t in, int64_t out) {
  return {.in = in, .out = out, .kernel = {1, 1, 1}};
}

int64_t widest(const WanVaeConfig& c) {
  return c.dim * c.dim_mult.back();
}

// Members of an nn.Sequential, named by their position.
template <class Layer, class... Args>
void append(VaeLayers& layers, Module* parent, const std::string& name, Args&&... args) {
  const std::string member = text_of(name, ".", layers.size());
  layers.push_back(std::make_unique<Layer>(parent, member, std::forward<Args>(args)...));
}

VaeLayers middle_layers(Module* parent, int64_t channels) {
  VaeLayers layers;
  append<VaeResidualBlock>(layers, parent, "middle", channels, channels);
  append<VaeAttention>(layers, parent, "middle", channels);
  append<VaeResidualBlock>(layers, parent, "middle", channels, channels);
  return layers;
}

VaeLayers down_layers(Module* parent, const WanVaeConfig& c) {
  VaeLayers layers;
  int64_t in = c.dim;
  for (size_t level = 0; level < c.dim_mult.size(); ++level) {
    const int64_t out = c.dim * c.dim_mult[level];
    for (int64_t i = 0; i < c.num_res_blocks; ++i, in = out)
      append<VaeResidualBlock>(layers, parent, "downsamples", in, out);
    if (level + 1 < c.dim_mult.size())
      append<VaeDownsample>(layers, parent, "downsamples", out, c.temporal_downsample[level]);
  }
  return layers;
}

// The levels from the coarsest on. An upsampling halves the channels.
VaeLayers up_layers(Module* parent, const WanVaeConfig& c) {
  VaeLayers layers;
  int64_t in = widest(c);
  for (size_t level = c.dim_mult.size(); level-- > 0;) {
    const int64_t out = c.dim * c.dim_mult[level];
    for (int64_t i = 0; i < c.num_res_blocks + 1; ++i, in = out)
      append<VaeResidualBlock>(layers, parent, "upsamples", in, out);
    if (level == 0) break;
    append<VaeUpsample>(layers, parent, "upsamples", out, c.temporal_downsample[level - 1]);
    in = out / 2;
  }
  return layers;
}

Variable through(const VaeLayers& layers, Variable x, FrameCache& cache) {
  for (const auto& layer : layers) x = (*layer)(x, cache);
  return x;
}

// Before anything is built; limits keep products of sizes representable.
const WanVaeConfig& checked(const WanVaeConfig& c) {
  constexpr int64_t kMost = 1 << 16;
  require(!c.dim_mult.empty() && c.dim_mult.size() <= 8, "wan vae: ", c.dim_mult.size(),
          " entries in dim_mult, wanted 1 to 8");
  require(c.temporal_downsample.size() + 1 == c.dim_mult.size(), "wan vae: ", c.temporal_downsample.size(),
          " entries in temporal_downsample, wanted one less than the ", c.dim_mult.size(), " of dim_mult");
  require(c.dim >= 2 && c.dim <= kMost && c.dim % 2 == 0, "wan vae: dim ", c.dim,
          ", wanted an even number up to ", kMost);
  require(c.z_dim >= 1 && c.z_dim <= kMost, "wan vae: z_dim ", c.z_dim, ", wanted 1 to ", kMost);
  require(c.num_res_blocks >= 1 && c.num_res_blocks <= 64, "wan vae: num_res_blocks ", c.num_res_blocks,
          ", wanted 1 to 64");
  for (const int64_t multiple : c.dim_mult)
    require(multiple >= 1 && multiple <= 256, "wan vae: ", multiple, " in dim_mult, wanted 1 to 256");
  return c;
}

void check_film(const Variable& x, const WanVaeConfig& c, bool is_first) {
  const int64_t factor = c.temporal_factor(), side = c.spatial_factor();
  require(x.dim() == 5 && x.size(0) > 0 && x.size(1) == 3, "wan vae: film ", at::IntArrayRef(x.shape()),
          ", wanted (B,3,F,H,W)");
  const int64_t frames = x.size(kTime), rest = is_first ? frames - 1 : frames;
  require(rest >= (is_first ? 0 : factor) && rest % factor == 0, "wan vae: ", frames, " frames, wanted ",
          is_first ? "1 + " : "", factor, " n",
          is_first ? " at a film's beginning" : " after a film's first part", " (is data.frames right?)");
  require(x.size(3) > 0 && x.size(4) > 0 && x.size(3) % side == 0 && x.size(4) % side == 0,
          "wan vae: pictures of ", x.size(3), " x ", x.size(4), ", wanted multiples of ", side);
}

void check_latents(const Variable& z, const WanVaeConfig& c) {
  require(z.dim() == 5 && z.size(0) > 0 && z.size(1) == c.z_dim && z.size(kTime) > 0 && z.size(3) > 0 &&
              z.size(4) > 0,
          "wan vae: latents ", at::IntArrayRef(z.shape()), ", wanted (B,", c.z_dim, ",T,h,w)");
}

}  // namespace

int64_t WanVaeConfig::spatial_factor() const {
  return int64_t{1} << (dim_mult.size() - 1);
}

int64_t WanVaeConfig::temporal_factor() const {
  return int64_t{1} << std::count(temporal_downsample.begin(), temporal_downsample.end(), true);
}

VaeEncoder::VaeEncoder(Module* parent, std::string name, const WanVaeConfig& c)
    : Module(parent, std::move(name)),
      conv1(this, "conv1", cube(3, c.dim)),
      downsamples(down_layers(this, c)),
      middle(middle_layers(this, widest(c))),
      norm(this, "head.0", widest(c), 3),
      head(this, "head.2", cube(widest(c), 2 * c.z_dim)) {}

Variable VaeEncoder::operator()(const Variable& x_BCTHW, FrameCache& cache) const {
  const Scope scope(*this);
  const Variable x = through(downsamples, conv1(x_BCTHW, cache), cache);
  return head(norm, through(middle, x, cache), Variable(), cache);
}

VaeDecoder::VaeDecoder(Module* parent, std::string name, const WanVaeConfig& c)
    : Module(parent, std::move(name)),
      conv1(this, "conv1", cube(c.z_dim, widest(c))),
      middle(middle_layers(this, widest(c))),
      upsamples(up_layers(this, c)),
      norm(this, "head.0", c.dim * c.dim_mult.front(), 3),
      head(this, "head.2", cube(c.dim * c.dim_mult.front(), 3)) {}

Variable VaeDecoder::operator()(const Variable& z_BCTHW, FrameCache& cache) const {
  const Scope scope(*this);
  const Variable x = through(middle, conv1(z_BCTHW, cache), cache);
  return head(norm, through(upsamples, x, cache), Variable(), cache);
}

WanVae::WanVae(const WanVaeConfig& c, WanVaePart part) : config(checked(c)) {
  if (part != WanVaePart::decoder) {
    encoder = std::make_unique<VaeEncoder>(this, "encoder", c);
    conv1 = std::make_unique<CausalConv3d>(this, "conv1", point(2 * c.z_dim, 2 * c.z_dim));
  }
  if (part != WanVaePart::encoder) {
    conv2 = std::make_unique<CausalConv3d>(this, "conv2", point(c.z_dim, c.z_dim));
    decoder = std::make_unique<VaeDecoder>(this, "decoder", c);
  }
}

Variable WanVae::encode_part(const Variable& x, FrameCache& cache) const {
  require(encoder != nullptr, "wan vae: encode with the decoder alone");
  check_film(x, config, cache.is_fresh());
  const Scope scope(*this);
  return ops::chunk((*conv1)((*encoder)(x, cache), cache), 2, 1)[0];  // the other half is the log variance
}

Variable WanVae::decode_part(const Variable& z, FrameCache& cache) const {
  require(decoder != nullptr, "wan vae: decode with the encoder alone");
  check_latents(z, config);
  const Scope scope(*this);
  return (*decoder)((*conv2)(z, cache), cache);
}

Variable WanVae::encode(const Variable& x, std::optional<int64_t> window) const {
  check_film(x, config, true);
  require(!window || *window % config.temporal_factor() == 0, "wan vae: windows of ", window.value_or(0),
          " frames, wanted multiples of ", config.temporal_factor());
  FrameCache cache;
  Variables latents;
  for (const auto [begin, end] : film_parts(x.size(kTime), window))
    latents.push_back(encode_part(ops::slice(x, kTime, begin, end), cache));
  return ops::concat(latents, kTime);
}

Variable WanVae::decode(const Variable& z, std::optional<int64_t> window) const {
  check_latents(z, config);
  FrameCache cache;
  Variables film;
  for (const auto [begin, end] : film_parts(z.size(kTime), window))
    film.push_back(decode_part(ops::slice(z, kTime, begin, end), cache));
  return ops::concat(film, kTime);
}

std::vector<FrameRange> film_parts(int64_t frames, std::optional<int64_t> window) {
  require(frames >= 1, "film of ", frames, " frames");
  require(!window || *window >= 1, "window of ", window.value_or(0), " frames, wanted at least 1");
  if (!window) return {{0, frames}};
  std::vector<FrameRange> parts{{0, 1}};
  for (int64_t begin = 1; begin < frames; begin += *window)
    parts.push_back({begin, std::min(begin + *window, frames)});
  return parts;
}

}  // namespace orrery
