#include "parity/dit.h"

#include <ATen/ops/cat.h>

#include <set>

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
const std::map<std::string, Json> kFixed{{"pos_emb_cls", "rope3d"},
                                         {"use_adaln_lora", true},
                                         {"extra_per_block_abs_pos_emb", false},
                                         {"n_dense_blocks", -1},
                                         {"extra_image_context_dim", nullptr}};

// Reads options and knows which of a configuration nobody has read.
class Options {
 public:
  explicit Options(const Json& config) : config_(config) {
    for (const auto& [name, value] : config.items()) {
      const auto fixed = kFixed.find(name);
      require(fixed == kFixed.end() || fixed->second == value, "config option ", name, " is ", value.dump(),
              ", this network has ", fixed == kFixed.end() ? "" : fixed->second.dump());
      if (fixed == kFixed.end() && kWithoutEffect.count(name) == 0) unread_.insert(name);
    }
  }
  int64_t count(const std::string& key) {
    unread_.erase(key);
    return count_value(config_, key);
  }
  bool flag(const std::string& key) {
    unread_.erase(key);
    return option_value<bool>(config_, key);
  }
  double positive(const std::string& key) {
    unread_.erase(key);
    const auto value = option_value<double>(config_, key);
    require(value > 0 && value <= 1e6, "config option ", key, " is ", value, ", wanted above 0, at most 1e6");
    return value;
  }
  void finish() const {
    require(unread_.empty(), "config option ", unread_.empty() ? "" : *unread_.begin(), " is unknown");
  }

 private:
  const Json& config_;
  std::set<std::string> unread_;
};

// Before any module is built: sizes whose products cannot overflow.
void check_sizes(const DiTConfig& c) {
  require(c.patch_spatial <= 64 && c.patch_temporal <= 64, "config: patches of ", c.patch_temporal, " x ",
          c.patch_spatial, " x ", c.patch_spatial, " are larger than 64");
  require(c.num_blocks <= 4096, "config: ", c.num_blocks, " blocks, at most 4096 are allowed");
  require(c.model_channels % c.num_heads == 0, "config: ", c.model_channels,
          " model_channels do not divide into ", c.num_heads, " heads");
  require(c.mlp_ratio <= 1000, "config: mlp_ratio ", c.mlp_ratio, " is above 1000");
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

DiTConfig dit_config(const Json& config) {
  Options options(config);
  DiTConfig c;
  c.max_img_h = options.count("max_img_h");
  c.max_img_w = options.count("max_img_w");
  c.max_frames = options.count("max_frames");
  c.in_channels = options.count("in_channels");
  c.out_channels = options.count("out_channels");
  c.patch_spatial = options.count("patch_spatial");
  c.patch_temporal = options.count("patch_temporal");
  c.concat_padding_mask = options.flag("concat_padding_mask");
  c.model_channels = options.count("model_channels");
  c.num_blocks = options.count("num_blocks");
  c.num_heads = options.count("num_heads");
  c.mlp_ratio = options.positive("mlp_ratio");
  c.crossattn_emb_channels = options.count("crossattn_emb_channels");
  c.use_crossattn_projection = options.flag("use_crossattn_projection");
  c.crossattn_proj_in_channels = options.count("crossattn_proj_in_channels");
  c.adaln_lora_dim = options.count("adaln_lora_dim");
  c.rope_h_extrapolation_ratio = options.positive("rope_h_extrapolation_ratio");
  c.rope_w_extrapolation_ratio = options.positive("rope_w_extrapolation_ratio");
  c.rope_t_extrapolation_ratio = options.positive("rope_t_extrapolation_ratio");
  c.rope_enable_fps_modulation = options.flag("rope_enable_fps_modulation");
  c.use_wan_fp32_strategy = options.flag("use_wan_fp32_strategy");
  c.timestep_scale = options.positive("timestep_scale");
  options.finish();
  check_sizes(c);
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
  const NamedVariables in = input_variables(c, device, {"x"});
  const int64_t T = c.count_option("T"), H = c.count_option("H"), W = c.count_option("W");
  require(in.at("x").dim() == 4 && in.at("x").size(1) == T * H * W, "inputs.x: shape ",
          at::IntArrayRef(in.at("x").shape()), ", wanted [B,", T * H * W, ",n,d] (config T, H, W)");
  const RopeConfig config = {.head_dim = c.count_option("head_dim"),
                             .ratio_t = c.option<double>("t_extrapolation_ratio"),
                             .ratio_h = c.option<double>("h_extrapolation_ratio"),
                             .ratio_w = c.option<double>("w_extrapolation_ratio"),
                             .fps_modulation = c.option<bool>("enable_fps_modulation"),
                             .base_fps = c.option<double>("base_fps")};
  const RopeTable table =
      rope_table(config, c.weight("dim_temporal_range", device), c.weight("dim_spatial_range", device), 0, T,
                 H, W, optional_input(c, "fps", device));
  return run_with_derivatives(c, in, {}, [&]() -> NamedVariables {
    return {{"freqs", Variable(both_halves(table.angles))},
            {"y", ops::rope(in.at("x"), table.cos, table.sin)}};
  });
}

NamedTensors run_op_patchify(const Case& c, at::Device device) {
  DiTConfig config;
  config.in_channels = c.count_option("in_channels");
  config.out_channels = c.count_option("out_channels");
  config.patch_spatial = c.count_option("patch_spatial");
  config.patch_temporal = c.count_option("patch_temporal");
  config.concat_padding_mask = c.option<bool>("concat_padding_mask");
  config.model_channels = c.count_option("model_channels");
  check_sizes(config);
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
  } net(c.count_option("model_channels"));
  const NamedVariables weights = load_weights(net, c, device), in = input_variables(c, device, {"timesteps"});
  return run_with_derivatives(c, in, weights, [&]() -> NamedVariables {
    const Variable time =
        ops::scale(ops::cast(in.at("timesteps"), acc_type(c.dtype)), c.option<double>("timestep_scale"));
    const Variable sinusoid = ops::timestep_embedding(time, c.count_option("model_channels"));
    return {{"sinusoid", sinusoid},
            {"t_emb", net.t_embedding_norm(sinusoid)},
            {"adaln_lora", net.t_embedder(sinusoid)}};
  });
}

}  // namespace orrery
