#include "parity/dit.h"

#include <ATen/ops/cat.h>

#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/numeric.h"
#include "ops/rope.h"
#include "parity/derivatives.h"

namespace orrery {
namespace {

// Options of the reference without effect on its results, or with an effect elsewhere in the runner.
const std::set<std::string> kWithoutEffect{
    "atten_backend", "sac_config", "pos_emb_learnable", "pos_emb_interpolation",
    "min_fps",       "max_fps",    "data_type"};

// Options that this network has with one value only.
const std::map<std::string, nlohmann::json> kFixed{{"pos_emb_cls", "rope3d"},
                                                   {"use_adaln_lora", true},
                                                   {"extra_per_block_abs_pos_emb", false},
                                                   {"n_dense_blocks", -1},
                                                   {"extra_image_context_dim", nullptr}};

// The option's value goes to `to`; its name is removed from `left`.
template <class T>
void take(const nlohmann::json& options, const std::string& name, T& to, std::set<std::string>& left) {
  require(options.contains(name), "config has no option ", name);
  try {
    to = options.at(name).get<T>();
  } catch (const nlohmann::json::exception&) {
    fail("config option ", name, " has an unsuitable value: ", options.at(name).dump());
  }
  if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>)
    require(options.at(name).is_number_integer() && to > 0, "config option ", name, " is ",
            options.at(name).dump(), ", wanted a positive integer");
  left.erase(name);
}

bool is_image(const Case& c) {
  const auto type = c.option<std::string>("data_type");
  require(type == "image" || type == "video", "config option data_type is ", type, ", wanted image or video");
  return type == "image";
}

// The table of the reference: every angle twice, for the two halves of a head.
at::Tensor both_halves(const at::Tensor& angles) {
  return at::cat({angles, angles}, -1);
}

at::Tensor optional_input(const Case& c, const std::string& name, at::Device device) {
  return c.has_input(name) ? c.input(name, device) : at::Tensor();
}

NamedVariables outputs_of(const Variable& v, const DiTTrace& trace) {
  NamedVariables outputs{{"v", v},
                         {"x_embed", trace.x_embed},
                         {"rope", Variable(both_halves(trace.rope.angles))},
                         {"context", trace.context},
                         {"t_emb", trace.t_emb},
                         {"adaln_lora", trace.adaln_lora}};
  for (size_t i = 0; i < trace.blocks.size(); ++i) outputs.emplace(text_of("block_", i), trace.blocks[i]);
  return outputs;
}

}  // namespace

DiTConfig dit_config(const nlohmann::json& options) {
  std::set<std::string> left;
  for (const auto& [name, value] : options.items()) {
    const auto fixed = kFixed.find(name);
    require(fixed == kFixed.end() || fixed->second == value, "config option ", name, " is ", value.dump(),
            ", this network has ", fixed == kFixed.end() ? "" : fixed->second.dump());
    if (fixed == kFixed.end() && kWithoutEffect.count(name) == 0) left.insert(name);
  }
  DiTConfig c;
  const auto bind = [&](const char* name, auto& to) { take(options, name, to, left); };
  bind("max_img_h", c.max_img_h);
  bind("max_img_w", c.max_img_w);
  bind("max_frames", c.max_frames);
  bind("in_channels", c.in_channels);
  bind("out_channels", c.out_channels);
  bind("patch_spatial", c.patch_spatial);
  bind("patch_temporal", c.patch_temporal);
  bind("concat_padding_mask", c.concat_padding_mask);
  bind("model_channels", c.model_channels);
  bind("num_blocks", c.num_blocks);
  bind("num_heads", c.num_heads);
  bind("mlp_ratio", c.mlp_ratio);
  bind("crossattn_emb_channels", c.crossattn_emb_channels);
  bind("use_crossattn_projection", c.use_crossattn_projection);
  bind("crossattn_proj_in_channels", c.crossattn_proj_in_channels);
  bind("adaln_lora_dim", c.adaln_lora_dim);
  bind("rope_h_extrapolation_ratio", c.rope_h_extrapolation_ratio);
  bind("rope_w_extrapolation_ratio", c.rope_w_extrapolation_ratio);
  bind("rope_t_extrapolation_ratio", c.rope_t_extrapolation_ratio);
  bind("rope_enable_fps_modulation", c.rope_enable_fps_modulation);
  bind("use_wan_fp32_strategy", c.use_wan_fp32_strategy);
  bind("timestep_scale", c.timestep_scale);
  require(left.empty(), "config option ", left.empty() ? "" : *left.begin(), " is unknown");
  return c;
}

NamedTensors run_dit(const Case& c, at::Device device) {
  DiT net(dit_config(c.config));
  const NamedVariables weights = load_weights(net, c, device);
  const NamedVariables in = input_variables(c, device, {"x", "timesteps", "crossattn_emb"});
  return run_with_derivatives(c, in, weights, [&] {
    DiTTrace trace;
    const Variable v = net.traced({.x = in.at("x"),
                                   .timesteps = in.at("timesteps"),
                                   .crossattn_emb = in.at("crossattn_emb"),
                                   .condition_mask = optional_input(c, "condition_mask", device),
                                   .padding_mask = optional_input(c, "padding_mask", device),
                                   .fps = optional_input(c, "fps", device),
                                   .is_image = is_image(c)},
                                  trace);
    return outputs_of(v, trace);
  });
}

NamedTensors run_op_rope(const Case& c, at::Device device) {
  const RopeConfig config = {.head_dim = c.option<int64_t>("head_dim"),
                             .ratio_t = c.option<double>("t_extrapolation_ratio"),
                             .ratio_h = c.option<double>("h_extrapolation_ratio"),
                             .ratio_w = c.option<double>("w_extrapolation_ratio"),
                             .fps_modulation = c.option<bool>("enable_fps_modulation"),
                             .base_fps = c.option<double>("base_fps")};
  const RopeTable table =
      rope_table(config, c.weight("dim_temporal_range", device), c.weight("dim_spatial_range", device), 0,
                 c.option<int64_t>("T"), c.option<int64_t>("H"), c.option<int64_t>("W"),
                 optional_input(c, "fps", device));
  const NamedVariables in = input_variables(c, device, {"x"});
  return run_with_derivatives(c, in, {}, [&]() -> NamedVariables {
    return {{"freqs", Variable(both_halves(table.angles))},
            {"y", ops::rope(in.at("x"), table.cos, table.sin)}};
  });
}

NamedTensors run_op_patchify(const Case& c, at::Device device) {
  DiTConfig config;
  config.in_channels = c.option<int64_t>("in_channels");
  config.out_channels = c.option<int64_t>("out_channels");
  config.patch_spatial = c.option<int64_t>("patch_spatial");
  config.patch_temporal = c.option<int64_t>("patch_temporal");
  config.concat_padding_mask = c.option<bool>("concat_padding_mask");
  config.model_channels = c.option<int64_t>("model_channels");
  struct Net final : Module {
    explicit Net(const DiTConfig& config) : x_embedder(this, "x_embedder", config) {}
    PatchEmbed x_embedder;
  } net(config);
  const NamedVariables weights = load_weights(net, c, device);
  const NamedVariables in = input_variables(c, device, {"x", "y"});
  return run_with_derivatives(c, in, weights, [&]() -> NamedVariables {
    const Variable x =
        add_mask_channels(in.at("x"), optional_input(c, "condition_mask", device),
                          optional_input(c, "padding_mask", device), config.concat_padding_mask, is_image(c));
    return {
        {"tokens", net.x_embedder(x)},
        {"video", unpatchify(in.at("y"), config.out_channels, config.patch_spatial, config.patch_temporal)}};
  });
}

NamedTensors run_op_timestep_embed(const Case& c, at::Device device) {
  require(c.option<bool>("use_adaln_lora"), "config option use_adaln_lora is false, this network has it");
  struct Net final : Module {
    explicit Net(int64_t dim)
        : t_embedder(this, "t_embedder.1", dim), t_embedding_norm(this, "t_embedding_norm", dim) {}
    TimeEmbedding t_embedder;
    RmsNorm t_embedding_norm;
  } net(c.option<int64_t>("model_channels"));
  const NamedVariables weights = load_weights(net, c, device), in = input_variables(c, device, {"timesteps"});
  return run_with_derivatives(c, in, weights, [&]() -> NamedVariables {
    const Variable time =
        ops::scale(ops::cast(in.at("timesteps"), acc_type(c.dtype)), c.option<double>("timestep_scale"));
    const Variable sinusoid = ops::timestep_embedding(time, c.option<int64_t>("model_channels"));
    return {{"sinusoid", sinusoid},
            {"t_emb", net.t_embedding_norm(sinusoid)},
            {"adaln_lora", net.t_embedder(sinusoid)}};
  });
}

}  // namespace orrery
