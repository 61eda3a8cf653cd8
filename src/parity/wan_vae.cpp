#include "parity/wan_vae.h"

#include <ATen/ops/tensor.h>

#include "model/video_values.h"
#include "ops/shape.h"
#include "parity/derivatives.h"
#include "parity/options.h"

namespace orrery {
namespace {

// A list of at most 64 values.
template <class T>
std::vector<T> list_option(const Json& config, const std::string& key) {
  const auto list = option_value<std::vector<T>>(config, key);
  require(list.size() <= 64, "config option ", key, " has ", list.size(), " values, at most 64 are allowed");
  return list;
}

std::array<int64_t, 3> triple(const Case& c, const std::string& key, int64_t least) {
  const auto list = list_option<int64_t>(c.config, key);
  require(list.size() == 3, "config option ", key, " has ", list.size(), " values, wanted 3");
  for (const int64_t value : list)
    require(value >= least && value <= 64, "config option ", key, " has ", value, ", wanted ", least,
            " to 64");
  return {list[0], list[1], list[2]};
}

LatentScale scale_of(const Case& c, at::Device device) {
  return {c.input("latent_mean", device), c.input("latent_inv_std", device)};
}

void require_same_type(const LatentScale& scale, const Variable& x) {
  require(scale.mean.dtype() == scale.inv_std.dtype() && scale.mean.scalar_type() == x.dtype(),
          "inputs of different types: latents ", x.dtype(), ", latent_mean ", scale.mean.dtype(),
          ", latent_inv_std ", scale.inv_std.dtype());
}

// The network of the case. Error, besides wan_vae_config's: an option that is not known.
WanVaeConfig network_of(const Case& c) {
  require_known_options(c, {"dim", "z_dim", "dim_mult", "num_res_blocks", "attn_scales",
                            "temperal_downsample", "dropout", "temporal_window", "clamp"});
  return wan_vae_config(c.config);
}

// Runs a layer on the parts of inputs.x, and collects its results and, under `caches`, what it remembers.
NamedTensors run_in_parts(const Case& c, at::Device device, Module& net, const VaeLayer& layer,
                          const std::vector<std::pair<std::string, const Module*>>& caches) {
  const NamedVariables weights = load_weights(net, c, device), in = input_variables(c, device, {"x"});
  const Variable& x = in.at("x");
  const auto lengths = list_option<int64_t>(c.config, "chunks");
  require(x.dim() == 5, "inputs.x: shape ", at::IntArrayRef(x.shape()), ", wanted [B,C,T,H,W]");
  return run_with_derivatives(c, in, weights, [&] {
    NamedVariables outputs;
    FrameCache cache;
    int64_t begin = 0;
    for (size_t i = 0; i < lengths.size(); ++i) {
      require(lengths[i] >= 1 && lengths[i] <= x.size(2) - begin, "config option chunks: ", lengths[i],
              " frames of the ", x.size(2) - begin, " that are left");
      outputs.emplace(text_of("y_", i), layer(ops::slice(x, 2, begin, begin + lengths[i]), cache));
      begin += lengths[i];
      for (const auto& [name, reader] : caches)
        if (const Variable& frames = cache[*reader]; frames.defined())
          outputs.emplace(text_of(name, "_", i), frames);
    }
    require(begin == x.size(2), "config option chunks: ", begin, " of the ", x.size(2), " frames");
    return outputs;
  });
}

template <class Layer, bool kTime>
NamedTensors run_resample(const Case& c, at::Device device) {
  struct Net final : Module {
    explicit Net(int64_t dim) : layer(this, "", dim, kTime) {}
    Layer layer;
  } net(c.count_option("dim"));
  std::vector<std::pair<std::string, const Module*>> caches;
  if (kTime) caches.emplace_back("cache", net.layer.time_conv.get());
  return run_in_parts(c, device, net, net.layer, caches);
}

}  // namespace

WanVaeConfig wan_vae_config(const Json& config) {
  require(option_value<Json>(config, "attn_scales").empty(),
          "config option attn_scales is not empty, this network has attention in its middle alone");
  require(option_value<double>(config, "dropout") == 0, "config option dropout is not 0");
  return {
      .dim = count_value(config, "dim"),
      .z_dim = count_value(config, "z_dim"),
      .dim_mult = list_option<int64_t>(config, "dim_mult"),
      .num_res_blocks = count_value(config, "num_res_blocks"),
      .temporal_downsample = list_option<bool>(config, "temperal_downsample")};  // the reference's spelling
}

NamedTensors run_wan_vae_encode(const Case& c, at::Device device) {
  WanVae net(network_of(c), WanVaePart::encoder);
  const NamedVariables weights = load_weights(net, c, device), in = input_variables(c, device, {"x"});
  const LatentScale scale = scale_of(c, device);
  require_same_type(scale, in.at("x"));
  return run_with_derivatives(c, in, weights, [&]() -> NamedVariables {
    return {{"mu", scale.normalise(net.encode(in.at("x"), c.count_option("temporal_window")))}};
  });
}

NamedTensors run_wan_vae_decode(const Case& c, at::Device device) {
  WanVae net(network_of(c), WanVaePart::decoder);
  const NamedVariables weights = load_weights(net, c, device), in = input_variables(c, device, {"z"});
  const LatentScale scale = scale_of(c, device);
  require_same_type(scale, in.at("z"));
  const bool clamp = c.option<bool>("clamp");
  require(!clamp || (c.cotangents.empty() && c.tangents.empty()), "derivatives of a clamped film");
  return run_with_derivatives(c, in, weights, [&]() -> NamedVariables {
    const Variable x = net.decode(scale.denormalise(in.at("z")), 1);
    return {{"x", clamp ? Variable(x.value().clamp(-1, 1)) : x}};
  });
}

NamedTensors run_wan_vae_decode_stream(const Case& c, at::Device device) {
  WanVae net(network_of(c), WanVaePart::decoder);
  load_weights(net, c, device);
  const LatentScale scale = scale_of(c, device);
  FrameCache cache;
  NamedTensors films;
  for (int64_t i = 0; c.has_input(text_of("z_", i)); ++i) {
    const Variable z(c.input(text_of("z_", i), device));
    require_same_type(scale, z);
    films.emplace(text_of("x_", i), net.decode_part(scale.denormalise(z), cache).value());
  }
  return films;
}

NamedTensors run_op_causal_conv3d(const Case& c, at::Device device) {
  struct Net final : Module {
    explicit Net(const CausalConv3dConfig& config) : conv(this, "", config) {}
    CausalConv3d conv;
  } net({.in = c.count_option("in_channels"),
         .out = c.count_option("out_channels"),
         .kernel = triple(c, "kernel_size", 1),
         .stride = triple(c, "stride", 1),
         .padding = triple(c, "padding", 0)});
  return run_in_parts(c, device, net, net.conv, {{"cache", &net.conv}});
}

NamedTensors run_op_vae_resblock(const Case& c, at::Device device) {
  struct Net final : Module {
    Net(int64_t in, int64_t out) : block(this, "", in, out) {}
    VaeResidualBlock block;
  } net(c.count_option("in_dim"), c.count_option("out_dim"));
  return run_in_parts(c, device, net, net.block,
                      {{"cache0", &net.block.conv1}, {"cache1", &net.block.conv2}});
}

NamedTensors run_op_vae_resample(const Case& c, at::Device device) {
  const auto run =
      choice<NamedTensors (*)(const Case&, at::Device)>(c, "mode",
                                                        {{"downsample2d", run_resample<VaeDownsample, false>},
                                                         {"downsample3d", run_resample<VaeDownsample, true>},
                                                         {"upsample2d", run_resample<VaeUpsample, false>},
                                                         {"upsample3d", run_resample<VaeUpsample, true>}});
  return run(c, device);
}

NamedTensors run_op_vae_norm(const Case& c, at::Device device) {
  const bool images = c.option<bool>("images");
  struct Net final : Module {
    Net(int64_t dim, int64_t axes) : norm(this, "", dim, axes) {}
    ChannelNorm norm;
  } net(c.count_option("dim"), images ? 2 : 3);
  const NamedVariables weights = load_weights(net, c, device), in = input_variables(c, device, {"x"});
  return run_with_derivatives(c, in, weights, [&]() -> NamedVariables {
    const Variable& x = in.at("x");
    if (!images) return {{"y", net.norm(x)}};
    require(x.dim() == 4, "inputs.x: shape ", at::IntArrayRef(x.shape()), ", wanted [B,C,H,W]");
    const Variable y = net.norm(ops::reshape(x, {x.size(0), x.size(1), 1, x.size(2), x.size(3)}));
    return {{"y", ops::reshape(y, x.shape())}};
  });
}

NamedTensors run_op_vae_attention(const Case& c, at::Device device) {
  struct Net final : Module {
    explicit Net(int64_t dim) : attention(this, "", dim) {}
    VaeAttention attention;
  } net(c.count_option("dim"));
  const NamedVariables weights = load_weights(net, c, device), in = input_variables(c, device, {"x"});
  return run_with_derivatives(c, in, weights, [&]() -> NamedVariables {
    FrameCache unused;
    return {{"y", net.attention(in.at("x"), unused)}};
  });
}

NamedTensors run_op_vae_latent_norm(const Case& c, at::Device device) {
  const auto values = [&](const std::string& key) {
    return at::tensor(at::ArrayRef<double>(list_option<double>(c.config, key))).to(device, c.dtype);
  };
  const LatentScale scale = latent_scale(values("mean"), values("std"));
  const NamedVariables in = input_variables(c, device, {"mu", "z_in"});
  for (const auto& [name, x] : in) require_same_type(scale, x);
  return run_with_derivatives(c, in, {}, [&]() -> NamedVariables {
    return {{"z", scale.normalise(in.at("mu"))}, {"mu_back", scale.denormalise(in.at("z_in"))}};
  });
}

NamedTensors run_op_pixels_to_model(const Case& c, at::Device device) {
  return {{"x", values_of_pixels(c.input("u8", device), c.dtype)}};
}

NamedTensors run_op_video_to_u8(const Case& c, at::Device device) {
  return {{"u8", pixels_of_values(c.input("video", device))}};
}

}  // namespace orrery
