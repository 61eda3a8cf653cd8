#pragma once
// The settings of a run: one plain struct a section, defaults as in the released Cosmos-Predict2.5 2B recipe
// where it has one (cosmos-predict2.5 `configs/video2world`). src/cli binds "section.key" to each field;
// nothing else knows about flags or files. Sizes are in pixels and frames of film unless a comment says
// latent.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace orrery {

// Closed sets of values. The enumerators' names are the words of the settings; names_of gives them in order.
enum class Dtype { float32, bfloat16, float64 };
enum class Device { cpu, cuda };
enum class DataKind { video_folder };  // DIR/videos/*.mp4 with DIR/metas/*.txt
enum class Resize { stretch, pad };    // direct to height x width; or keep aspect and pad by reflection
enum class LrSchedule { constant, linear, cosine, lambda_linear, lambda_cosine };
enum class NonFinite { stop, skip, zero };  // what to do with a gradient that has NaN or Inf
enum class Ema { none, constant, power, flow_grpo };
enum class TimeTable { discrete, continuous };  // sigma from a table of 1000 entries, or from u directly
enum class TimeLaw { logit_normal, uniform, waver };
enum class Uncached { encode, refuse };  // of films that data.cache lacks
enum class TokenizerKind { linear, wan };
enum class TextKind { hash, reason1, t5, table };
// How the outputs of a language model's layers become one embedding (names of cosmos-predict2.5): one behind
// the other, their mean, or the means of five consecutive ones.
enum class LayerJoin { full_concat, mean_pooling, pool_every_n_layers_and_concat };
// Which activations backward makes again (the rest is kept): none, all of each block, the modes of
// cosmos-predict2.5 under their names, or the cheapest set that fits memory.limit_gib.
enum class MemoryPolicy {
  none,
  full,
  mm_only,
  block_wise,
  linear_selfattn,
  predict2_2b_720,
  predict2_14b_720,
  predict2_2b_720_aggressive,
  predict2_2b_720_aggressive_v2,
  predict2_14b_720_aggressive,
  automatic
};
enum class SamplerKind { unipc, euler };
enum class Sigmas { linear, karras };
enum class Guidance { v2w, t2w };  // v_c + g (v_c - v_u); v_u + g (v_c - v_u)
enum class Weights { ema, model };
enum class WhenBusy { wait, skip };  // a checkpoint is due while the one before is still being written

std::span<const std::string_view> names_of(Dtype);
std::span<const std::string_view> names_of(Device);
std::span<const std::string_view> names_of(DataKind);
std::span<const std::string_view> names_of(Resize);
std::span<const std::string_view> names_of(LrSchedule);
std::span<const std::string_view> names_of(NonFinite);
std::span<const std::string_view> names_of(Ema);
std::span<const std::string_view> names_of(TimeTable);
std::span<const std::string_view> names_of(TimeLaw);
std::span<const std::string_view> names_of(Uncached);
std::span<const std::string_view> names_of(TokenizerKind);
std::span<const std::string_view> names_of(TextKind);
std::span<const std::string_view> names_of(LayerJoin);
std::span<const std::string_view> names_of(MemoryPolicy);
std::span<const std::string_view> names_of(SamplerKind);
std::span<const std::string_view> names_of(Sigmas);
std::span<const std::string_view> names_of(Guidance);
std::span<const std::string_view> names_of(Weights);
std::span<const std::string_view> names_of(WhenBusy);

template <class E>
requires std::is_enum_v<E> std::string_view name_of(E value) {
  return names_of(value)[static_cast<size_t>(value)];
}

struct ModelConfig {
  std::string preset = "2b";  // named sizes: 2b, 14b and tiny ones
  // Overrides of the preset; 0 keeps the preset's value.
  int64_t channels = 0;          // width D of the residual stream
  int64_t blocks = 0;            // number of transformer blocks
  int64_t heads = 0;             // attention heads
  double mlp_ratio = 0;          // hidden width of the MLP / channels
  int64_t adaln_rank = 0;        // rank of the low-rank modulation
  int64_t patch = 0;             // latent rows and columns of one token
  int64_t context_channels = 0;  // width of the projected text
  double rope_h = 0;             // NTK ratio of the rotary base, rows
  double rope_w = 0;             // the same, columns
  double rope_t = 0;             // the same, frames
  bool operator==(const ModelConfig&) const = default;
};

struct DataConfig {
  std::string path;                        // folder of the training films
  DataKind kind = DataKind::video_folder;  // its layout
  int64_t frames = 93;                     // frames of a clip: 1, 5, 9, ... (4 n + 1)
  int64_t height = 704;                    // rows of a clip
  int64_t width = 1280;                    // columns of a clip
  std::vector<std::string> buckets;        // further shapes HEIGHTxWIDTH, chosen by aspect ratio
  int64_t stride = 1;                      // take every stride-th frame of the film
  Resize resize = Resize::stretch;         // how a frame comes to height x width
  std::string image_path;                  // folder of images or films used as one-frame clips; empty: none
  int64_t image_batches = 1;               // batches of images in one cycle of the mixture
  int64_t video_batches = 3;               // batches of films in one cycle of the mixture
  int64_t image_batch = 0;                 // images in a batch over all ranks; 0: train.batch
  std::string cache;  // folder made by orrery encode, read in place of encoding films; empty: none
  Uncached uncached =
      Uncached::encode;              // films that it lacks, or that changed: encode at each step, or refuse
  int64_t held_out = 0;              // films kept from training for samples and evaluation (last by name)
  double max_bad_fraction = 0.05;    // training stops when more of the films than this cannot be read
  int64_t max_pixels = 7680 * 4320;  // larger frames are refused before they are decoded
  int64_t workers = 4;               // decoder threads of a rank
  int64_t prefetch = 2;              // batches decoded ahead of the step
  bool operator==(const DataConfig&) const = default;
};

struct TrainConfig {
  int64_t steps = 150000;   // optimizer steps of the whole run
  int64_t batch = 256;      // clips of one step over all ranks
  int64_t micro_batch = 0;  // clips of one forward on one rank, gradients add up; 0: all of the rank's share
  int64_t seed = 0;         // names every random stream of the run
  double lr = 3e-5;         // learning rate before the schedule's factor
  std::string run_dir = "runs/run";  // all outputs of the run
  std::string resume =
      "auto";  // auto: go on from run_dir's newest checkpoint, if any; never; or a checkpoint folder
  int64_t log_every = 10;  // steps from one logged line to the next
  bool operator==(const TrainConfig&) const = default;
};

struct OptimConfig {
  bool master_weights =
      true;              // float32 weights and moments; false: all in the weights' dtype, as the reference
  double beta1 = 0.9;    // AdamW: decay of the first moment
  double beta2 = 0.999;  // AdamW: decay of the second moment
  double eps = 1e-8;     // AdamW: added to the root of the second moment
  double weight_decay = 1e-3;  // decoupled, on all parameters
  double clip = 0.1;           // largest global L2 norm of the gradient; 0: no clipping
  NonFinite nonfinite =
      NonFinite::stop;  // gradient with NaN or Inf: end the run, skip the step, or zero these entries
  LrSchedule schedule = LrSchedule::lambda_linear;  // factor on train.lr by step
  int64_t warmup = 100;                             // steps of linear rise
  int64_t cycle = 400000;                           // lambda_*: step at which min_factor is reached
  double start_factor = 1e-6;                       // lambda_*: factor at step 0
  double max_factor = 0.99;                         // lambda_*: factor after warm-up
  double min_factor = 0.4;                          // factor at the end (linear, cosine: at train.steps)
  Ema ema = Ema::power;                             // law of the averaged weights
  double ema_rate = 0.1;                            // power: relative width s of the average
  double ema_decay = 0.9999;  // constant: weight of the old average; flow_grpo: its limit
  bool operator==(const OptimConfig&) const = default;
};

struct FlowConfig {
  TimeTable variant = TimeTable::discrete;  // which form of the time shift
  TimeLaw time = TimeLaw::logit_normal;     // law of u
  double shift = 5;  // sigma = shift u / (1 + (shift - 1) u); 0: by resolution, 1 at 256p to 5 at 720p
  double high_sigma = 0.05;  // share of samples drawn from the highest 2 % of noise instead
  std::vector<int64_t> condition_frames = {0, 1, 2};          // choices for the number of given latent frames
  std::vector<double> condition_weights = {0.5, 0.25, 0.25};  // their probabilities
  double condition_timestep = -1;  // time of given frames; negative: that of the clip
  bool replace_condition = true;   // the velocity of given frames is the exact one
  double text_dropout = 0.2;       // share of samples whose text embedding is zero
  bool operator==(const FlowConfig&) const = default;
};

struct NumericsConfig {
  Dtype dtype = Dtype::float32;         // weights in the forward pass and activations
  Device device = Device::cpu;          // where the model runs
  Dtype reduce_dtype = Dtype::float32;  // in which ranks add up gradients; bfloat16 halves traffic
  bool deterministic = false;           // only kernels that give the same bits every time
  bool tune = false;                    // GPU: the fastest of several kernels, which each rank finds by time
  bool operator==(const NumericsConfig&) const = default;
};

struct TokenizerConfig {
  // linear: basis of causal 4x8x8 blocks fitted to the films; wan: the Wan2.1 video autoencoder
  TokenizerKind kind = TokenizerKind::linear;
  int64_t channels = 16;   // latent channels; linear: up to 768 (then invertible); wan: 16
  int64_t fit_clips = 64;  // linear: clips the basis is fitted to
  double whitening =
      0;  // linear: 0: latent errors weigh as pixel errors do; 1: every channel has unit variance
  std::string weights;  // wan: file or folder of its weights, of any format; random: drawn from train.seed
  int64_t width = 96;   // wan: channels of its first layer; of released weights 96
  Dtype dtype = Dtype::bfloat16;  // wan: weights and arithmetic; released networks know latents of bfloat16
  int64_t encode_window = 16;     // wan: frames of film in memory at a time, a multiple of 4
  int64_t decode_window = 4;      // wan: latent frames in memory at a time
  bool operator==(const TokenizerConfig&) const = default;
};

struct TextConfig {
  TextKind kind = TextKind::hash;  // hash: a fixed random vector a word; reason1, t5: networks; table: a file
  std::string weights;             // reason1, t5: weights of the network, a file or a folder of any format
  std::string tokenizer;  // reason1: tokenizer.json, t5: spiece.model; empty: the one in the weights' folder
  std::string path;       // table: embeddings by prompt, a file or a dataset's folder
  LayerJoin join = LayerJoin::full_concat;  // reason1: how the layers' outputs become one embedding
  Dtype dtype = Dtype::bfloat16;            // reason1, t5: weights and activations of the network
  int64_t tokens = 0;    // length of the embedding, longer prompts are cut; 0: the model preset's
  int64_t channels = 0;  // width of the embedding; 0: the model preset's
  bool operator==(const TextConfig&) const = default;
};

struct ParallelConfig {
  int64_t replicate = 0;    // copies of the model, each split over shard x context ranks; 0: what these leave
  int64_t shard = 1;        // groups of ranks with their own clips that share one copy of the weights
  int64_t context = 1;      // ranks that share one clip's latent frames (and the weights too)
  int64_t head_groups = 1;  // context: a rank's heads are exchanged and attended to in so many groups
  int64_t prefetch = 1;     // units (blocks) whose weights are gathered ahead of their use
  bool reshard_after_forward = true;  // free a unit's gathered weights between its forward and its backward
  bool reduce_each_micro_batch = false;  // gradients travel after each micro-batch: more traffic, less memory
  int64_t timeout_s = 600;               // a collective that takes longer ends the run
  bool operator==(const ParallelConfig&) const = default;
};

struct MemoryConfig {
  MemoryPolicy policy = MemoryPolicy::none;  // what backward recomputes instead of keeping it
  double limit_gib = 0;  // memory of a rank that the plan may use; 0: all that its device has
  bool operator==(const MemoryConfig&) const = default;
};

struct CkptConfig {
  int64_t every = 1000;                 // steps from one checkpoint to the next (and at the end); 0: none
  int64_t keep = 3;                     // newest checkpoints kept; 0: all
  int64_t keep_every = 0;               // checkpoints of a step that is a multiple of this stay too; 0: none
  WhenBusy when_busy = WhenBusy::wait;  // a save is due while one is under way: train waits, or skips it
  double max_mib_s =
      0;             // most MiB that a rank writes in a second, to spare a shared file system; 0: no limit
  std::string load;  // weights to start from: a file or folder of any format; empty: released initialisation
  std::vector<std::string> partial;  // names that load may leave out; they keep their initialisation
  bool operator==(const CkptConfig&) const = default;
};

struct SampleConfig {
  int64_t every = 1000;     // steps from one set of sample films to the next (and at the end); 0: none
  int64_t clips = 4;        // films in a set
  std::string path;         // folder of films for samples and evaluation; empty: the films of data.held_out
  int64_t final_clips = 0;  // films of the evaluation after the last step; 0: none
  SamplerKind sampler = SamplerKind::unipc;  // integrator
  Sigmas sigmas = Sigmas::linear;            // noise levels: shifted linear, or Karras
  int64_t steps = 35;                        // model steps (Karras takes one more)
  double shift = 5;                          // shift of the linear noise levels; 0: by resolution
  double guidance = 7;                       // classifier-free guidance weight g
  Guidance formula = Guidance::v2w;          // which guidance formula
  int64_t condition_frames = 1;              // given latent frames
  std::string negative_prompt;               // text of the unconditional branch; empty: a zero embedding
  int64_t seed = 0;                          // of the initial noise (numpy's generator)
  Weights weights = Weights::ema;            // averaged weights, or those being trained
  int64_t fps = 16;                          // rate of the films written
  bool operator==(const SampleConfig&) const = default;
};

struct Config {
  ModelConfig model;
  DataConfig data;
  TrainConfig train;
  OptimConfig optim;
  FlowConfig flow;
  NumericsConfig numerics;
  TokenizerConfig tokenizer;
  TextConfig text;
  ParallelConfig parallel;
  MemoryConfig memory;
  CkptConfig ckpt;
  SampleConfig sample;
  bool operator==(const Config&) const = default;
};

}  // namespace orrery
