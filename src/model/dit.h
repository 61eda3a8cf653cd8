#pragma once
// The video diffusion transformer of Cosmos-Predict2.5 (MinimalV1LVGDiT on MiniTrainDIT): predicts the
// velocity of a noisy latent clip. Axes: B batch, T latent frames, H W patch grid, D width, C latent
// channels, N text tokens, S = T*H*W. Source: nvidia-cosmos/cosmos-predict2.5 networks/minimal_v4_dit.py,
// minimal_v1_lvg_dit.py.
#include "model/attention.h"

namespace orrery {

struct DiTConfig {
  int64_t in_channels = 16, out_channels = 16;
  int64_t model_channels = 2048, num_blocks = 28, num_heads = 16;
  double mlp_ratio = 4;
  int64_t adaln_lora_dim = 256;
  int64_t patch_spatial = 2, patch_temporal = 1;
  int64_t crossattn_emb_channels = 1024;  // width of the text that the blocks see
  bool use_crossattn_projection = true;   // text comes in crossattn_proj_in_channels and is projected once
  int64_t crossattn_proj_in_channels = 100352;
  bool concat_padding_mask = true;                             // one more input channel
  int64_t max_img_h = 240, max_img_w = 240, max_frames = 128;  // latent units; sizes of the position table
  double rope_h_extrapolation_ratio = 3, rope_w_extrapolation_ratio = 3, rope_t_extrapolation_ratio = 1;
  bool rope_enable_fps_modulation = false;
  double timestep_scale = 0.001;
  bool use_wan_fp32_strategy = true;  // time path, modulation and final layer in float32

  int64_t text_channels() const {
    return use_crossattn_projection ? crossattn_proj_in_channels : crossattn_emb_channels;
  }
  int64_t embed_channels() const { return in_channels + 1 + (concat_padding_mask ? 1 : 0); }
};

struct DiTInput {
  Variable x;                 // (B,C,T,Hl,Wl) noisy latents, any floating type
  Variable timesteps;         // (B,1) or (B,T), unscaled (0..1000)
  Variable crossattn_emb;     // (B,N,text channels), or project_text of it
  at::Tensor condition_mask;  // (B,1,T,Hl,Wl), 1 on condition frames; ignored for images
  at::Tensor padding_mask;    // (B,1,Hp,Wp) of any size, 1 on padded pixels; undefined = none
  at::Tensor fps;             // (B), read under rope_enable_fps_modulation only
  bool is_image = false;
  bool text_is_projected = false;  // crossattn_emb is project_text's, (B,N,crossattn_emb_channels)
  int64_t first_frame = 0;         // global index of the first local frame (context parallelism)
};

// What a golden case looks at, beside the result.
struct DiTTrace {
  Variable x_embed;            // (B,T,H,W,D)
  Variable context;            // (B,N,crossattn_emb_channels)
  Variable t_emb, adaln_lora;  // (B,T',D) normalised sinusoid; (B,T',3D)
  RopeTable rope;
  std::vector<Variable> blocks;  // (B,T,H,W,D) after each block
};

struct PatchEmbed final : Module {
  PatchEmbed(Module* parent, std::string name, const DiTConfig& config);
  Linear proj;  // key proj.1
  int64_t patch_spatial, patch_temporal;
  Variable operator()(const Variable& x_BCTHW) const;  // (B,T,H,W,D); feature order (c, r, m, n)
};

// Time embedding: the normalised sinusoid modulates, an MLP of it gives the low-rank term shared by all
// blocks.
struct TimeEmbedding final : Module {
  TimeEmbedding(Module* parent, std::string name, int64_t dim);  // keys linear_1, linear_2
  Linear linear_1, linear_2;
  Variable operator()(const Variable& sinusoid_BTD) const;  // (B,T',3D)
};

struct Modulation final : Module {  // keys 1 (R,D) and 2 (parts*D,R); 0 is SiLU
  Modulation(Module* parent, std::string name, int64_t dim, int64_t rank, int64_t parts);
  Linear down, up;
  int64_t dim, parts;
  // (B,T',1,1,D) each, in `type`: shift, scale[, gate]. lora (B,T',3D): its first parts*D channels are added.
  Variables operator()(const Variable& emb_BTD, const Variable& lora_BT3D, at::ScalarType type) const;
};

struct DiTBlock final : Module {
  DiTBlock(Module* parent, std::string name, const DiTConfig& config);
  Attention self_attn, cross_attn;
  Mlp mlp;
  Modulation adaln_modulation_self_attn, adaln_modulation_cross_attn, adaln_modulation_mlp;
  Variable operator()(const Variable& x_BTHWD, const Variable& emb_BTD, const Variable& lora_BT3D,
                      const Variable& context_BNC, const RopeTable& rope) const;
};

struct FinalLayer final : Module {
  FinalLayer(Module* parent, std::string name, const DiTConfig& config);
  Linear linear;
  Modulation adaln_modulation;
  Variable operator()(const Variable& x_BTHWD, const Variable& emb_BTD,
                      const Variable& lora_BT3D) const;  // emb's type
};

struct DiT final : Module {
  explicit DiT(const DiTConfig& config);
  DiTConfig config;
  PatchEmbed x_embedder;
  TimeEmbedding t_embedder;  // key t_embedder.1
  RmsNorm t_embedding_norm;
  std::unique_ptr<Linear> crossattn_proj;  // key crossattn_proj.0
  std::vector<std::unique_ptr<DiTBlock>> blocks;
  FinalLayer final_layer;
  Buffer seq, dim_spatial_range, dim_temporal_range;             // pos_embedder.*
  Buffer video_samples, image_samples, iterations, train_hours;  // accum_*: the reference's counters

  at::ScalarType dtype() const;  // of the parameters
  // The text as the blocks see it, in the parameters' type: once for many calls with the same text.
  Variable project_text(const Variable& crossattn_emb_BNC) const;
  // Velocity (B,out,T,Hl,Wl) in the accumulation type. Throws Error on shapes that do not fit together.
  Variable operator()(const DiTInput& in) const;
  // The same; fills trace.
  Variable traced(const DiTInput& in, DiTTrace& trace) const;

 private:
  Variable run(const DiTInput& in, DiTTrace* trace) const;
  void check(const DiTInput& in) const;
  RopeTable positions(const DiTInput& in) const;
};

// x (B,C,T,Hl,Wl) with the condition mask (zeros for images) and, if asked, the padding mask resized by
// nearest, as further channels in that order. padding_mask undefined = zeros.
Variable add_mask_channels(const Variable& x, const at::Tensor& condition_mask,
                           const at::Tensor& padding_mask, bool has_padding_channel, bool is_image);
// (B,T,H,W,P), feature order (p1, p2, t, C), to (B,C,T*t,H*p1,W*p2). The input's patch order is another one.
Variable unpatchify(const Variable& x_BTHWP, int64_t channels, int64_t patch_spatial, int64_t patch_temporal);

}  // namespace orrery
