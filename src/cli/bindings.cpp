// The binding table: every field of Config, in the order of base/config.h.
#include "cli/options.h"

namespace orrery::cli {
namespace {

constexpr Range at_least(double least) {
  return {.least = least};
}
constexpr Range between(double least, double most) {
  return {.least = least, .most = most};
}

void bind_model(Settings& s, ModelConfig& c) {
  s.bind("model.preset", c.preset, "named size: 2b, 14b or a tiny one");
  s.bind("model.channels", c.channels, "width of the residual stream; 0: the preset's", at_least(0));
  s.bind("model.blocks", c.blocks, "number of transformer blocks; 0: the preset's", at_least(0));
  s.bind("model.heads", c.heads, "attention heads; 0: the preset's", at_least(0));
  s.bind("model.mlp_ratio", c.mlp_ratio, "hidden width of the MLP / model.channels; 0: the preset's",
         at_least(0));
  s.bind("model.adaln_rank", c.adaln_rank, "rank of the low-rank modulation; 0: the preset's", at_least(0));
  s.bind("model.patch", c.patch, "latent rows and columns of one token; 0: the preset's", at_least(0));
  s.bind("model.context_channels", c.context_channels, "width of the projected text; 0: the preset's",
         at_least(0));
  s.bind("model.rope_h", c.rope_h, "NTK ratio of the rotary base for rows; 0: the preset's", at_least(0));
  s.bind("model.rope_w", c.rope_w, "NTK ratio of the rotary base for columns; 0: the preset's", at_least(0));
  s.bind("model.rope_t", c.rope_t, "NTK ratio of the rotary base for frames; 0: the preset's", at_least(0));
}

void bind_data(Settings& s, DataConfig& c) {
  s.bind("data.path", c.path, "folder of the training films");
  s.bind("data.kind", c.kind, "layout of data.path; video_folder: videos/*.mp4 with metas/*.txt");
  s.bind("data.frames", c.frames, "frames of a clip: 1, 5, 9, ... (4 n + 1)", at_least(1));
  s.bind("data.height", c.height, "rows of a clip", at_least(1));
  s.bind("data.width", c.width, "columns of a clip", at_least(1));
  s.bind("data.buckets", c.buckets,
         "further shapes HEIGHTxWIDTH; a film goes to the nearest in aspect ratio");
  s.bind("data.stride", c.stride, "take every stride-th frame of the film", at_least(1));
  s.bind("data.resize", c.resize,
         "how a frame comes to height x width: stretch, or keep its aspect and pad by reflection");
  s.bind("data.image_path", c.image_path, "folder of images or films used as one-frame clips; empty: none");
  s.bind("data.image_batches", c.image_batches, "batches of images in one cycle of the mixture", at_least(1));
  s.bind("data.video_batches", c.video_batches, "batches of films in one cycle of the mixture", at_least(1));
  s.bind("data.image_batch", c.image_batch, "images in a batch over all ranks; 0: train.batch", at_least(0));
  s.bind("data.cache", c.cache, "folder made by orrery encode, read in place of encoding films; empty: none");
  s.bind("data.uncached", c.uncached,
         "films that data.cache lacks, or that changed since: encode them at each step, or refuse the run");
  s.bind("data.held_out", c.held_out, "films kept from training for samples and evaluation (last by name)",
         at_least(0));
  s.bind("data.max_bad_fraction", c.max_bad_fraction,
         "training stops when more of the films than this cannot be read", between(0, 1));
  s.bind("data.max_pixels", c.max_pixels, "larger frames are refused before they are decoded", at_least(1));
  s.bind("data.workers", c.workers, "decoder threads of a rank", at_least(1));
  s.bind("data.prefetch", c.prefetch, "batches decoded ahead of the step", at_least(1));
}

void bind_train(Settings& s, TrainConfig& c) {
  s.bind("train.steps", c.steps, "optimizer steps of the whole run", at_least(1));
  s.bind("train.batch", c.batch, "clips of one step over all ranks", at_least(1));
  s.bind("train.micro_batch", c.micro_batch,
         "clips of one forward on one rank (gradients add up); 0: all of the rank's share", at_least(0));
  s.bind("train.seed", c.seed, "names every random stream of the run", at_least(0));
  s.bind("train.lr", c.lr, "learning rate before the schedule's factor", at_least(0));
  s.bind("train.run_dir", c.run_dir, "all outputs of the run");
  s.bind("train.resume", c.resume,
         "auto: go on from the newest checkpoint of run_dir, if any; never; or a checkpoint folder");
  s.bind("train.log_every", c.log_every, "steps from one logged line to the next", at_least(1));
}

void bind_optim(Settings& s, OptimConfig& c) {
  s.bind("optim.master_weights", c.master_weights,
         "float32 weights and moments; false: all in the weights' dtype, as the reference");
  s.bind("optim.beta1", c.beta1, "AdamW: decay of the first moment", between(0, 1));
  s.bind("optim.beta2", c.beta2, "AdamW: decay of the second moment", between(0, 1));
  s.bind("optim.eps", c.eps, "AdamW: added to the root of the second moment", at_least(0));
  s.bind("optim.weight_decay", c.weight_decay, "decoupled, on all parameters", at_least(0));
  s.bind("optim.clip", c.clip, "largest global L2 norm of the gradient; 0: no clipping", at_least(0));
  s.bind("optim.nonfinite", c.nonfinite,
         "gradient with NaN or Inf: end the run, skip the step, or zero these entries");
  s.bind("optim.schedule", c.schedule, "factor on train.lr by step");
  s.bind("optim.warmup", c.warmup, "steps of linear rise", at_least(0));
  s.bind("optim.cycle", c.cycle, "lambda_linear: step at which min_factor is reached", at_least(1));
  s.bind("optim.start_factor", c.start_factor, "lambda_linear: factor at step 0", at_least(0));
  s.bind("optim.max_factor", c.max_factor, "lambda_linear: factor after warm-up", at_least(0));
  s.bind("optim.min_factor", c.min_factor, "factor at the end (linear: at train.steps)", at_least(0));
  s.bind("optim.ema", c.ema, "law of the averaged weights");
  s.bind("optim.ema_rate", c.ema_rate, "power: relative width s of the average", at_least(0));
  s.bind("optim.ema_decay", c.ema_decay, "constant: weight of the old average", between(0, 1));
}

void bind_flow(Settings& s, FlowConfig& c) {
  s.bind("flow.variant", c.variant, "form of the time shift: a table of 1000 entries, or continuous");
  s.bind("flow.time", c.time, "law of the time u before the shift");
  s.bind("flow.shift", c.shift,
         "sigma = shift u / (1 + (shift - 1) u); 0: by resolution, 1 at 256p to 5 at 720p", at_least(0));
  s.bind("flow.high_sigma", c.high_sigma, "share of samples drawn from the highest 2 % of noise instead",
         between(0, 1));
  s.bind("flow.condition_frames", c.condition_frames, "choices for the number of given latent frames",
         at_least(0));
  s.bind("flow.condition_weights", c.condition_weights, "probabilities of flow.condition_frames",
         at_least(0));
  s.bind("flow.condition_timestep", c.condition_timestep, "time of given frames; negative: that of the clip");
  s.bind("flow.replace_condition", c.replace_condition, "the velocity of given frames is the exact one");
  s.bind("flow.text_dropout", c.text_dropout, "share of samples whose text embedding is zero", between(0, 1));
}

void bind_numerics(Settings& s, NumericsConfig& c) {
  s.bind("numerics.dtype", c.dtype, "weights in the forward pass and activations");
  s.bind("numerics.device", c.device, "where the model runs");
  s.bind("numerics.reduce_dtype", c.reduce_dtype,
         "gradients are summed over ranks in this or better; bfloat16 halves the traffic");
  s.bind("numerics.deterministic", c.deterministic, "only kernels that give the same bits every time");
  s.bind("numerics.tune", c.tune, "on a GPU: the fastest of several kernels, which each rank finds by time");
}

void bind_tokenizer(Settings& s, TokenizerConfig& c) {
  s.bind("tokenizer.kind", c.kind,
         "linear: basis of causal 4x8x8 blocks fitted to the films; wan: the Wan2.1 video autoencoder");
  s.bind("tokenizer.channels", c.channels, "latent channels; linear: up to 768 (then invertible); wan: 16",
         between(1, 768));
  s.bind("tokenizer.fit_clips", c.fit_clips, "linear: clips the basis is fitted to", at_least(1));
  s.bind("tokenizer.whitening", c.whitening,
         "linear: 0: latent errors weigh as pixel errors do; 1: every channel has unit variance",
         between(0, 1));
  s.bind("tokenizer.weights", c.weights,
         "wan: file or folder of its weights, of any format; random: drawn from train.seed, for trials");
  s.bind("tokenizer.width", c.width, "wan: channels of its first layer; of released weights 96",
         between(1, 4096));
  s.bind("tokenizer.dtype", c.dtype,
         "wan: type of weights and arithmetic; released networks know latents made in bfloat16");
  s.bind("tokenizer.encode_window", c.encode_window,
         "wan: frames of film in memory at a time, a multiple of 4", at_least(4));
  s.bind("tokenizer.decode_window", c.decode_window, "wan: latent frames in memory at a time", at_least(1));
}

void bind_text(Settings& s, TextConfig& c) {
  s.bind("text.kind", c.kind, "hash: a fixed random vector a word; reason1, t5: networks; table: a file");
  s.bind("text.weights", c.weights, "reason1, t5: weights of the network, a file or a folder");
  s.bind("text.tokenizer", c.tokenizer, "tokenizer.json or spiece.model; empty: the one beside the weights");
  s.bind("text.path", c.path, "table: embeddings by prompt, a file or a dataset's folder");
  s.bind("text.join", c.join, "reason1: how the layers' outputs become one embedding");
  s.bind("text.dtype", c.dtype, "reason1, t5: weights and activations of the network");
  s.bind("text.tokens", c.tokens, "length of the embedding, longer prompts are cut; 0: the preset's",
         at_least(0));
  s.bind("text.channels", c.channels, "width of the embedding; 0: the preset's", at_least(0));
}

void bind_parallel(Settings& s, ParallelConfig& c) {
  s.bind("parallel.replicate", c.replicate,
         "copies of the model, each split over shard x context ranks; 0: what these leave", at_least(0));
  s.bind("parallel.shard", c.shard,
         "groups of ranks with their own clips that share one copy of the weights; 0: what others leave",
         at_least(0));
  s.bind("parallel.context", c.context, "ranks that share one clip's latent frames (and the weights too)",
         at_least(1));
  s.bind("parallel.head_groups", c.head_groups,
         "context: groups of a rank's heads; one is attended to while others travel", at_least(1));
  s.bind("parallel.prefetch", c.prefetch, "units (blocks) whose weights are gathered ahead of their use",
         at_least(0));
  s.bind("parallel.reshard_after_forward", c.reshard_after_forward,
         "free a unit's gathered weights between its forward and its backward");
  s.bind("parallel.reduce_each_micro_batch", c.reduce_each_micro_batch,
         "gradients travel after each micro-batch: more traffic, less memory");
  s.bind("parallel.timeout_s", c.timeout_s, "a collective that takes longer ends the run", at_least(1));
}

void bind_memory(Settings& s, MemoryConfig& c) {
  s.bind("memory.policy", c.policy, "what backward recomputes instead of keeping it");
  s.bind("memory.limit_gib", c.limit_gib,
         "memory of a rank that the plan may use; 0: all that its device has", at_least(0.0));
}

void bind_ckpt(Settings& s, CkptConfig& c) {
  s.bind("ckpt.every", c.every, "steps from one checkpoint to the next (and at the end); 0: none",
         at_least(0));
  s.bind("ckpt.keep", c.keep, "newest checkpoints kept; 0: all", at_least(0));
  s.bind("ckpt.keep_every", c.keep_every,
         "checkpoints of a step that is a multiple of this are kept too; 0: none", at_least(0));
  s.bind("ckpt.when_busy", c.when_busy,
         "a checkpoint is due while one is being written: train waits, or skips it");
  s.bind("ckpt.max_mib_s", c.max_mib_s,
         "most MiB that a rank writes in a second, to spare a shared file system; 0: no limit", at_least(0));
  s.bind("ckpt.load", c.load,
         "weights to start from: a file or folder of any format; empty: released initialisation");
  s.bind("ckpt.partial", c.partial,
         "names that load may leave out (* any characters); they keep their initialisation");
}

void bind_sample(Settings& s, SampleConfig& c) {
  s.bind("sample.every", c.every, "steps from one set of sample films to the next (and at the end); 0: none",
         at_least(0));
  s.bind("sample.clips", c.clips, "films in a set", at_least(1));
  s.bind("sample.path", c.path,
         "folder of films for samples and evaluation; empty: the films of data.held_out");
  s.bind("sample.final_clips", c.final_clips, "films of the evaluation after the last step; 0: none",
         at_least(0));
  s.bind("sample.sampler", c.sampler, "integrator");
  s.bind("sample.sigmas", c.sigmas, "noise levels: shifted linear, or Karras");
  s.bind("sample.steps", c.steps, "model steps (Karras takes one more)", at_least(1));
  s.bind("sample.shift", c.shift, "shift of the linear noise levels; 0: by resolution", at_least(0));
  s.bind("sample.guidance", c.guidance, "classifier-free guidance weight g");
  s.bind("sample.formula", c.formula, "v2w: v_c + g (v_c - v_u); t2w: v_u + g (v_c - v_u)");
  s.bind("sample.condition_frames", c.condition_frames, "given latent frames", at_least(0));
  s.bind("sample.negative_prompt", c.negative_prompt,
         "text of the unconditional branch; empty: a zero embedding");
  s.bind("sample.seed", c.seed, "of the initial noise (numpy's generator)", between(0, 4294967295));
  s.bind("sample.weights", c.weights, "averaged weights, or those being trained");
  s.bind("sample.fps", c.fps, "rate of the films written", at_least(1));
}

}  // namespace

Settings settings_of(Config& config) {
  Settings settings;
  bind_model(settings, config.model);
  bind_data(settings, config.data);
  bind_train(settings, config.train);
  bind_optim(settings, config.optim);
  bind_flow(settings, config.flow);
  bind_numerics(settings, config.numerics);
  bind_tokenizer(settings, config.tokenizer);
  bind_text(settings, config.text);
  bind_parallel(settings, config.parallel);
  bind_memory(settings, config.memory);
  bind_ckpt(settings, config.ckpt);
  bind_sample(settings, config.sample);
  return settings;
}

}  // namespace orrery::cli
