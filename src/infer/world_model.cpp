#include "infer/world_model.h"

#include "base/error.h"
#include "ckpt/key_rules.h"
#include "flow/schedule.h"
#include "model/presets.h"

namespace orrery {
namespace {

template <class T>
void override_with(T& field, T value) {
  if (value != 0) field = value;
}

DiTConfig preset_with_overrides(const ModelConfig& model) {
  DiTConfig c = dit_preset(model.preset);
  override_with(c.model_channels, model.channels);
  override_with(c.num_blocks, model.blocks);
  override_with(c.num_heads, model.heads);
  override_with(c.mlp_ratio, model.mlp_ratio);
  override_with(c.adaln_lora_dim, model.adaln_rank);
  override_with(c.patch_spatial, model.patch);
  override_with(c.crossattn_emb_channels, model.context_channels);
  override_with(c.rope_h_extrapolation_ratio, model.rope_h);
  override_with(c.rope_w_extrapolation_ratio, model.rope_w);
  override_with(c.rope_t_extrapolation_ratio, model.rope_t);
  return c;
}

}  // namespace

at::ScalarType scalar_type(Dtype dtype) {
  switch (dtype) {
    case Dtype::float32:
      return at::kFloat;
    case Dtype::bfloat16:
      return at::kBFloat16;
    case Dtype::float64:
      return at::kDouble;
  }
  fail("unknown dtype");
}

at::Device device_of(const NumericsConfig& numerics, int local_rank) {
  if (numerics.device == Device::cpu) return at::kCPU;
  return {at::kCUDA, static_cast<c10::DeviceIndex>(local_rank)};
}

DiTConfig dit_config(const Config& config) {
  DiTConfig c = preset_with_overrides(config.model);
  c.in_channels = c.out_channels = config.tokenizer.channels;
  if (config.text.channels != 0) {
    if (c.use_crossattn_projection) {
      c.crossattn_proj_in_channels = config.text.channels;
    } else {
      c.crossattn_emb_channels = config.text.channels;
    }
  }
  return c;
}

int64_t text_tokens(const Config& config) {
  if (config.text.tokens != 0) return config.text.tokens;
  const bool is_short =
      config.text.kind == TextKind::hash && !dit_preset(config.model.preset).use_crossattn_projection;
  return is_short ? 16 : 512;
}

DiTInput dit_input(const flow::DenoiserInput& in, TextForm text) {
  DiTInput input;
  input.x = in.x;
  input.timesteps = in.timesteps;
  input.crossattn_emb = Variable(in.text);
  input.condition_mask = in.condition_mask;
  input.padding_mask = in.padding_mask;
  input.fps = in.fps;
  input.is_image = in.kind == flow::BatchKind::image;
  input.text_is_projected = text == TextForm::projected;
  return input;
}

flow::Denoiser denoiser_of(const DiT& net, TextForm text) {
  return [&net, text](const flow::DenoiserInput& in) { return net(dit_input(in, text)); };
}

std::vector<ShardView> buffers_of(const DiT& net) {
  std::vector<ShardView> out;
  for (const Buffer* b : net.buffers()) out.push_back({b->key(), b->value().sizes().vec(), 0, b->value()});
  return out;
}

std::vector<ShardView> parameters_of(const DiT& net) {
  std::vector<ShardView> out;
  for (const Parameter* p : net.parameters()) out.push_back({p->key(), p->shape(), 0, p->value()});
  return out;
}

std::string load_weights(const std::filesystem::path& file, DiT& net, Weights weights) {
  return load_weights(file, net, parameters_of(net), weights);
}

std::string load_weights(const std::filesystem::path& file, DiT& net,
                         const std::vector<ShardView>& parameters, Weights weights,
                         const std::vector<std::string>& partial) {
  return load_shards(*open_weights(file), {parameters, buffers_of(net), weights, partial});
}

void resolve_settings(Config& config) {
  const double shift = flow::shift_for_resolution(config.data.height, config.data.width);
  if (config.flow.shift == 0) config.flow.shift = shift;
  if (config.sample.shift == 0) config.sample.shift = shift;
}

}  // namespace orrery
