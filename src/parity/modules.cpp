// The table of modules. An explicit list: objects that registered themselves would be dropped from a static
// library.
#include "parity/contents.h"
#include "parity/dit.h"
#include "parity/flow.h"
#include "parity/merge.h"
#include "parity/metrics.h"
#include "parity/ops.h"
#include "parity/optim.h"
#include "parity/prep.h"
#include "parity/registry.h"
#include "parity/sampler.h"
#include "parity/text.h"
#include "parity/wan_vae.h"

namespace orrery {

std::span<const CaseModule> case_modules() {
  static constexpr CaseModule modules[] = {
      {"pt_contents", run_pt_contents},
      {"dcp_contents", run_dcp_contents},
      {"dit", run_dit},
      {"op_rope", run_op_rope},
      {"op_patchify", run_op_patchify},
      {"op_timestep_embed", run_op_timestep_embed},
      {"op_adaln", run_op_adaln},
      {"op_gated_add", run_op_gated_add},
      {"op_rms_norm", run_op_rms_norm},
      {"op_attention", run_op_attention},
      {"op_attention_jvp", run_op_attention_jvp},
      {"flow_time", run_flow_time},
      {"flow_train", run_flow_train},
      {"flow_condition_frames", run_flow_condition_frames},
      {"flow_text_dropout", run_flow_text_dropout},
      {"sampler_unipc", run_sampler_unipc},
      {"sampler_euler", run_sampler_euler},
      {"rng_numpy_normal", run_rng_numpy_normal},
      {"guidance", run_guidance},
      {"generate_latent", run_generate_latent},
      {"adamw", run_adamw},
      {"lr_schedule", run_lr_schedule},
      {"ema_power", run_ema_power},
      {"clip_grad_norm", run_clip_grad_norm},
      {"wan_vae_encode", run_wan_vae_encode},
      {"wan_vae_decode", run_wan_vae_decode},
      {"wan_vae_decode_stream", run_wan_vae_decode_stream},
      {"op_causal_conv3d", run_op_causal_conv3d},
      {"op_vae_resblock", run_op_vae_resblock},
      {"op_vae_resample", run_op_vae_resample},
      {"op_vae_norm", run_op_vae_norm},
      {"op_vae_attention", run_op_vae_attention},
      {"op_vae_latent_norm", run_op_vae_latent_norm},
      {"op_pixels_to_model", run_op_pixels_to_model},
      {"op_video_to_u8", run_op_video_to_u8},
      {"prep_dit_condition", run_prep_dit_condition},
      {"prep_dit_data", run_prep_dit_data},
      {"prep_dit_pad", run_prep_dit_pad},
      {"text_prompt_ids", run_text_prompt_ids},
      {"qwen25_text", run_qwen25_text},
      {"op_mean_normalize", run_op_mean_normalize},
      {"reason1_embedding", run_reason1_embedding},
      {"t5_encoder", run_t5_encoder},
      {"merge_soup", run_merge},
      {"merge_task_arithmetic", run_merge},
      {"merge_ties", run_merge},
      {"merge_dare_linear", run_merge},
      {"merge_dare_ties", run_merge},
      {"psnr", run_psnr},
      {"ssim", run_ssim},
      {"latent_l2", run_latent_l2},
      {"frechet_distance", run_frechet_distance},
  };
  return modules;
}

CaseRunner find_case_module(std::string_view name) {
  for (const CaseModule& module : case_modules())
    if (module.name == name) return module.run;
  return nullptr;
}

}  // namespace orrery
