#include "model/dit.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/upsample_nearest2d.h>
#include <ATen/ops/zeros.h>

#include "base/error.h"
#include "ops/activation.h"
#include "ops/adaln.h"
#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/numeric.h"
#include "ops/shape.h"

namespace orrery {
namespace {

constexpr double kNormEps = 1e-6;

at::Tensor exponents(int64_t dim) {
  return at::arange(0, dim, 2, at::kFloat) / static_cast<double>(dim);
}

// The reference forgets to initialise crossattn_proj (its values always come from a checkpoint); ours starts
// like every other projection.
Init text_projection_init(const DiTConfig& c) {
  return fan_in(c.crossattn_proj_in_channels);
}

}  // namespace

PatchEmbed::PatchEmbed(Module* parent, std::string name, const DiTConfig& c)
    : Module(parent, std::move(name)),
      proj(this, "proj.1", c.embed_channels() * c.patch_temporal * c.patch_spatial * c.patch_spatial,
           c.model_channels,
           fan_in(c.embed_channels() * c.patch_temporal * c.patch_spatial * c.patch_spatial)),
      patch_spatial(c.patch_spatial),
      patch_temporal(c.patch_temporal) {}

Variable PatchEmbed::operator()(const Variable& x_BCTHW) const {
  const Scope scope(*this);
  const int64_t B = x_BCTHW.size(0), C = x_BCTHW.size(1), r = patch_temporal, m = patch_spatial;
  const int64_t T = x_BCTHW.size(2) / r, H = x_BCTHW.size(3) / m, W = x_BCTHW.size(4) / m;
  return proj(ops::rearrange(x_BCTHW, {B, C, T, r, H, m, W, m}, {0, 2, 4, 6, 1, 3, 5, 7},
                             {B, T, H, W, C * r * m * m}));
}

TimeEmbedding::TimeEmbedding(Module* parent, std::string name, int64_t dim)
    : Module(parent, std::move(name)),
      linear_1(this, "linear_1", dim, dim, fan_in(dim)),
      linear_2(this, "linear_2", dim, 3 * dim, fan_in(dim)) {}

Variable TimeEmbedding::operator()(const Variable& sinusoid_BTD) const {
  const Scope scope(*this);
  return linear_2(ops::silu(linear_1(sinusoid_BTD)));
}

Modulation::Modulation(Module* parent, std::string name, int64_t dim, int64_t rank, int64_t parts)
    : Module(parent, std::move(name)),
      down(this, "1", dim, rank, fan_in(dim)),
      up(this, "2", rank, parts * dim, Init::zeros()),
      dim(dim),
      parts(parts) {}

Variables Modulation::operator()(const Variable& emb_BTD, const Variable& lora_BT3D,
                                 at::ScalarType type) const {
  const Scope scope(*this);
  const Variable lora = parts == 3 ? lora_BT3D : ops::slice(lora_BT3D, -1, 0, parts * dim);
  const Variable m = ops::cast(ops::add(up(down(ops::silu(emb_BTD))), lora), type);
  return ops::chunk(ops::reshape(m, {m.size(0), m.size(1), 1, 1, m.size(2)}), parts, -1);
}

DiTBlock::DiTBlock(Module* parent, std::string name, const DiTConfig& c)
    : Module(parent, std::move(name)),
      self_attn(this, "self_attn", c.model_channels, c.model_channels, c.num_heads),
      cross_attn(this, "cross_attn", c.model_channels, c.crossattn_emb_channels, c.num_heads),
      mlp(this, "mlp", c.model_channels,
          static_cast<int64_t>(static_cast<double>(c.model_channels) * c.mlp_ratio)),
      adaln_modulation_self_attn(this, "adaln_modulation_self_attn", c.model_channels, c.adaln_lora_dim, 3),
      adaln_modulation_cross_attn(this, "adaln_modulation_cross_attn", c.model_channels, c.adaln_lora_dim, 3),
      adaln_modulation_mlp(this, "adaln_modulation_mlp", c.model_channels, c.adaln_lora_dim, 3) {}

Variable DiTBlock::operator()(const Variable& x_BTHWD, const Variable& emb_BTD, const Variable& lora_BT3D,
                              const Variable& context_BNC, const RopeTable& rope) const {
  const Scope scope(*this);
  const auto modulation = [&](const Modulation& m) { return m(emb_BTD, lora_BT3D, x_BTHWD.dtype()); };
  const Variables sa = modulation(adaln_modulation_self_attn), ca = modulation(adaln_modulation_cross_attn),
                  ff = modulation(adaln_modulation_mlp);  // shift, scale, gate
  const Shape grid = x_BTHWD.shape(), flat = {grid[0], grid[1] * grid[2] * grid[3], grid[4]};
  const auto normed = [&](const Variable& x, const Variables& m) {
    return ops::adaln(x, m[1], m[0], kNormEps);
  };

  Variable x = x_BTHWD;
  const Variable sa_in = ops::reshape(normed(x, sa), flat);
  x = ops::gated_add(x, sa[2], ops::reshape(self_attn(sa_in, sa_in, &rope), grid));
  const Variable ca_in = ops::reshape(normed(x, ca), flat);
  x = ops::gated_add(x, ca[2], ops::reshape(cross_attn(ca_in, context_BNC, nullptr), grid));
  x = ops::gated_add(x, ff[2], mlp(normed(x, ff)));
  return scope.result(x);
}

FinalLayer::FinalLayer(Module* parent, std::string name, const DiTConfig& c)
    : Module(parent, std::move(name)),
      linear(this, "linear", c.model_channels,
             c.out_channels * c.patch_temporal * c.patch_spatial * c.patch_spatial, fan_in(c.model_channels)),
      adaln_modulation(this, "adaln_modulation", c.model_channels, c.adaln_lora_dim, 2) {}

Variable FinalLayer::operator()(const Variable& x_BTHWD, const Variable& emb_BTD,
                                const Variable& lora_BT3D) const {
  const Scope scope(*this);
  const Variables m = adaln_modulation(emb_BTD, lora_BT3D, emb_BTD.dtype());
  return scope.result(linear(ops::adaln(ops::cast(x_BTHWD, emb_BTD.dtype()), m[1], m[0], kNormEps)));
}

DiT::DiT(const DiTConfig& c)
    : config(c),
      x_embedder(this, "x_embedder", c),
      t_embedder(this, "t_embedder.1", c.model_channels),
      t_embedding_norm(this, "t_embedding_norm", c.model_channels),
      final_layer(this, "final_layer", c),
      seq(this, "pos_embedder.seq",
          at::arange(std::max({c.max_img_h / c.patch_spatial, c.max_img_w / c.patch_spatial,
                               c.max_frames / c.patch_temporal}),
                     at::kFloat)),
      dim_spatial_range(this, "pos_embedder.dim_spatial_range",
                        exponents(rope_dims(c.model_channels / c.num_heads).h)),
      dim_temporal_range(this, "pos_embedder.dim_temporal_range",
                         exponents(rope_dims(c.model_channels / c.num_heads).t)),
      video_samples(this, "accum_video_sample_counter", at::zeros({}, at::kLong)),
      image_samples(this, "accum_image_sample_counter", at::zeros({}, at::kLong)),
      iterations(this, "accum_iteration", at::zeros({}, at::kLong)),
      train_hours(this, "accum_train_in_hours", at::zeros({}, at::kFloat)) {
  if (c.use_crossattn_projection)
    crossattn_proj = std::make_unique<Linear>(this, "crossattn_proj.0", c.crossattn_proj_in_channels,
                                              c.crossattn_emb_channels, text_projection_init(c), true);
  for (int64_t i = 0; i < c.num_blocks; ++i)
    blocks.push_back(std::make_unique<DiTBlock>(this, text_of("blocks.", i), c));
}

at::ScalarType DiT::dtype() const {
  return x_embedder.proj.weight.variable().dtype();
}

void DiT::check(const DiTInput& in) const {
  require(in.x.dim() == 5 && in.x.size(1) == config.in_channels, "dit: latents ",
          at::IntArrayRef(in.x.shape()), ", wanted (B,", config.in_channels, ",T,H,W)");
  const int64_t B = in.x.size(0), T = in.x.size(2), H = in.x.size(3), W = in.x.size(4),
                m = config.patch_spatial;
  require(T % config.patch_temporal == 0 && H % m == 0 && W % m == 0, "dit: latents of ", T, " x ", H, " x ",
          W, " do not divide into patches of ", config.patch_temporal, " x ", m, " x ", m);
  require(H <= config.max_img_h && W <= config.max_img_w && in.first_frame + T <= config.max_frames,
          "dit: latents of ", T, " x ", H, " x ", W, " exceed the position table (", config.max_frames, " x ",
          config.max_img_h, " x ", config.max_img_w, ")");
  const int64_t frames = in.timesteps.dim() == 2 ? in.timesteps.size(1) : -1;
  require(frames == 1 || frames == T, "dit: timesteps ", at::IntArrayRef(in.timesteps.shape()), ", wanted (",
          B, ",1) or (", B, ",", T, ")");
  const int64_t text_channels = in.text_is_projected ? config.crossattn_emb_channels : config.text_channels();
  require(in.timesteps.size(0) == B && in.crossattn_emb.dim() == 3 && in.crossattn_emb.size(0) == B &&
              in.crossattn_emb.size(2) == text_channels,
          "dit: text embedding ", at::IntArrayRef(in.crossattn_emb.shape()), ", wanted (", B, ",N,",
          text_channels, ")");
  const Shape mask = {B, 1, T, H, W};
  require(in.is_image || (in.condition_mask.defined() && in.condition_mask.sizes() == at::IntArrayRef(mask)),
          "dit: a video needs a condition mask of shape ", at::IntArrayRef(mask));
}

Variable add_mask_channels(const Variable& x, const at::Tensor& condition_mask,
                           const at::Tensor& padding_mask, bool has_padding_channel, bool is_image) {
  const int64_t B = x.size(0), T = x.size(2), H = x.size(3), W = x.size(4);
  const at::Tensor zeros = at::zeros({B, 1, T, H, W}, x.value().options());
  Variables parts = {x, Variable(is_image ? zeros : condition_mask.to(x.dtype()))};
  if (has_padding_channel) {
    at::Tensor padding = zeros;
    if (padding_mask.defined())
      padding =
          at::upsample_nearest2d(padding_mask.to(x.dtype()), {H, W}).unsqueeze(2).expand({B, 1, T, H, W});
    parts.push_back(Variable(padding));
  }
  return ops::concat(parts, 1);
}

RopeTable DiT::positions(const DiTInput& in) const {
  const RopeConfig rope = {.head_dim = config.model_channels / config.num_heads,
                           .ratio_t = config.rope_t_extrapolation_ratio,
                           .ratio_h = config.rope_h_extrapolation_ratio,
                           .ratio_w = config.rope_w_extrapolation_ratio,
                           .fps_modulation = config.rope_enable_fps_modulation};
  return rope_table(rope, dim_temporal_range.value(), dim_spatial_range.value(),
                    in.first_frame / config.patch_temporal, in.x.size(2) / config.patch_temporal,
                    in.x.size(3) / config.patch_spatial, in.x.size(4) / config.patch_spatial, in.fps);
}

Variable unpatchify(const Variable& x_BTHWP, int64_t channels, int64_t patch_spatial,
                    int64_t patch_temporal) {
  const int64_t B = x_BTHWP.size(0), T = x_BTHWP.size(1), H = x_BTHWP.size(2), W = x_BTHWP.size(3);
  const int64_t p = patch_spatial, t = patch_temporal;
  return ops::rearrange(x_BTHWP, {B, T, H, W, p, p, t, channels}, {0, 7, 1, 6, 2, 4, 3, 5},
                        {B, channels, T * t, H * p, W * p});
}

Variable DiT::project_text(const Variable& crossattn_emb_BNC) const {
  const Variable text = ops::cast(crossattn_emb_BNC, dtype());
  return crossattn_proj ? ops::gelu((*crossattn_proj)(text)) : text;
}

Variable DiT::run(const DiTInput& in, DiTTrace* trace) const {
  const Scope scope(*this);
  check(in);
  const at::ScalarType type = dtype(), time_type = config.use_wan_fp32_strategy ? acc_type(type) : type;
  const Variable latents = add_mask_channels(ops::cast(in.x, type), in.condition_mask, in.padding_mask,
                                             config.concat_padding_mask, in.is_image);
  Variable x_BTHWD = x_embedder(latents);
  const RopeTable rope = positions(in);
  const Variable context_BNC =
      in.text_is_projected ? ops::cast(in.crossattn_emb, type) : project_text(in.crossattn_emb);
  // Times are never rounded to bf16: the sinusoid is computed in the accumulation type.
  const Variable time = ops::scale(ops::cast(in.timesteps, acc_type(type)), config.timestep_scale);
  const Variable sinusoid_BTD = ops::cast(ops::timestep_embedding(time, config.model_channels), time_type);
  const Variable lora_BT3D = t_embedder(sinusoid_BTD);
  const Variable emb_BTD = t_embedding_norm(sinusoid_BTD);
  if (trace) *trace = {x_BTHWD, context_BNC, emb_BTD, lora_BT3D, rope, {}};
  for (const auto& block : blocks) {
    x_BTHWD = (*block)(x_BTHWD, emb_BTD, lora_BT3D, context_BNC, rope);
    if (trace) trace->blocks.push_back(x_BTHWD);
  }
  const Variable patches = final_layer(x_BTHWD, emb_BTD, lora_BT3D);
  return ops::cast(unpatchify(patches, config.out_channels, config.patch_spatial, config.patch_temporal),
                   acc_type(type));
}

Variable DiT::operator()(const DiTInput& in) const {
  return run(in, nullptr);
}
Variable DiT::traced(const DiTInput& in, DiTTrace& trace) const {
  return run(in, &trace);
}

}  // namespace orrery
