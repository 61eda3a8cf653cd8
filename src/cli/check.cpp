#include "cli/check.h"

#include <ATen/Context.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "cli/options.h"

namespace orrery::cli {
namespace {

// The key is refused unless the condition holds.
struct Rule {
  std::string_view key;
  bool (*holds)(const Config&);
  std::string_view wanted;
};

int64_t latent_frames(const Config& c) {
  return 1 + (c.data.frames - 1) / 4;
}
bool is_lambda(LrSchedule s) {
  return s == LrSchedule::lambda_linear || s == LrSchedule::lambda_cosine;
}
bool reads_text(const Config& c) {
  return c.text.kind == TextKind::reason1 || c.text.kind == TextKind::t5;
}
bool in_films(const Config& c, int64_t most_given) {
  return latent_frames(c) == 1 || most_given <= latent_frames(c);
}

const std::vector<Rule>& requirements() {
  static const std::vector<Rule> kRules = {
      {"data.path", [](const Config& c) { return !c.data.path.empty(); }, "the folder of the training films"},
      {"data.frames", [](const Config& c) { return c.data.frames % 4 == 1; },
       "1, 5, 9, ... (the tokenizer groups 4 frames)"},
      {"data.height", [](const Config& c) { return c.data.height % 8 == 0; },
       "a multiple of 8 (the tokenizer's blocks)"},
      {"data.width", [](const Config& c) { return c.data.width % 8 == 0; },
       "a multiple of 8 (the tokenizer's blocks)"},
      {"train.run_dir", [](const Config& c) { return !c.train.run_dir.empty(); }, "a folder"},
      {"train.resume", [](const Config& c) { return !c.train.resume.empty(); },
       "auto, never or a checkpoint folder"},
      {"optim.cycle",
       [](const Config& c) { return !is_lambda(c.optim.schedule) || c.train.steps <= c.optim.cycle; },
       "at least train.steps: the schedule has no value after its cycle"},
      {"optim.warmup",
       [](const Config& c) { return !is_lambda(c.optim.schedule) || c.optim.warmup < c.optim.cycle; },
       "less than optim.cycle"},
      {"flow.condition_frames",
       [](const Config& c) {
         const auto& n = c.flow.condition_frames;
         return !n.empty() && in_films(c, *std::max_element(n.begin(), n.end()));
       },
       "numbers of latent frames that a clip has: 1 + (data.frames - 1) / 4"},
      {"flow.condition_weights",
       [](const Config& c) {
         const auto& w = c.flow.condition_weights;
         return w.size() == c.flow.condition_frames.size() && std::accumulate(w.begin(), w.end(), 0.0) > 0;
       },
       "one weight for each of flow.condition_frames, not all of them 0"},
      {"sample.condition_frames", [](const Config& c) { return in_films(c, c.sample.condition_frames + 1); },
       "fewer latent frames than a clip has: 1 + (data.frames - 1) / 4"},
      {"sample.weights",
       [](const Config& c) { return c.sample.weights == Weights::model || c.optim.ema != Ema::none; },
       "model, because optim.ema is none"},
      {"numerics.device",
       [](const Config& c) { return c.numerics.device == Device::cpu || at::globalContext().hasCUDA(); },
       "cpu: this build or this machine has no CUDA device (orrery doctor tells which)"},
      {"numerics.tune", [](const Config& c) { return !c.numerics.tune || !c.numerics.deterministic; },
       "false, because of numerics.deterministic=true: a choice by time differs from run to run"},
      {"tokenizer.channels",
       [](const Config& c) { return c.tokenizer.kind != TokenizerKind::wan || c.tokenizer.channels == 16; },
       "16, those of tokenizer.kind=wan"},
      {"tokenizer.weights",
       [](const Config& c) { return c.tokenizer.kind != TokenizerKind::wan || !c.tokenizer.weights.empty(); },
       "the file or folder of the autoencoder's weights, or random (tokenizer.kind=wan)"},
      {"tokenizer.encode_window", [](const Config& c) { return c.tokenizer.encode_window % 4 == 0; },
       "a multiple of 4"},
      {"text.weights", [](const Config& c) { return !reads_text(c) || !c.text.weights.empty(); },
       "the file or folder of the text encoder's weights (text.kind=reason1 or t5)"},
      {"text.path", [](const Config& c) { return c.text.kind != TextKind::table || !c.text.path.empty(); },
       "a file or folder of embeddings (text.kind=table)"},
      {"parallel.replicate",
       [](const Config& c) { return c.parallel.replicate != 0 || c.parallel.shard != 0; },
       "a number, because parallel.shard is 0 too: one of them is what the other leaves"},
      {"parallel.context", [](const Config& c) { return latent_frames(c) % c.parallel.context == 0; },
       "a divisor of the latent frames of a clip: 1 + (data.frames - 1) / 4"},
  };
  return kRules;
}

// The key has an effect only if the condition holds.
const std::vector<Rule>& effects() {
  constexpr auto has_images = [](const Config& c) { return !c.data.image_path.empty(); };
  constexpr auto has_films = [](const Config& c) { return c.data.frames > 1; };
  constexpr auto lambda = [](const Config& c) { return is_lambda(c.optim.schedule); };
  constexpr auto is_linear = [](const Config& c) { return c.tokenizer.kind == TokenizerKind::linear; };
  constexpr auto is_wan = [](const Config& c) { return c.tokenizer.kind == TokenizerKind::wan; };
  constexpr auto samples = [](const Config& c) { return c.sample.every > 0 || c.sample.final_clips > 0; };
  static const std::vector<Rule> kRules = {
      {"data.image_batches", has_images, "data.image_path"},
      {"data.video_batches", has_images, "data.image_path"},
      {"data.image_batch", has_images, "data.image_path"},
      {"data.uncached", [](const Config& c) { return !c.data.cache.empty(); }, "data.cache"},
      {"data.stride", has_films, "data.frames > 1"},
      {"flow.condition_frames", has_films, "data.frames > 1"},
      {"flow.condition_weights", has_films, "data.frames > 1"},
      {"flow.condition_timestep", has_films, "data.frames > 1"},
      {"flow.replace_condition", has_films, "data.frames > 1"},
      {"optim.cycle", lambda, "optim.schedule=lambda_linear or lambda_cosine"},
      {"optim.start_factor", lambda, "optim.schedule=lambda_linear or lambda_cosine"},
      {"optim.max_factor", lambda, "optim.schedule=lambda_linear or lambda_cosine"},
      {"optim.min_factor", [](const Config& c) { return c.optim.schedule != LrSchedule::constant; },
       "another optim.schedule than constant"},
      {"optim.ema_rate", [](const Config& c) { return c.optim.ema == Ema::power; }, "optim.ema=power"},
      {"optim.ema_decay",
       [](const Config& c) { return c.optim.ema == Ema::constant || c.optim.ema == Ema::flow_grpo; },
       "optim.ema=constant or flow_grpo"},
      {"optim.master_weights", [](const Config& c) { return c.numerics.dtype == Dtype::bfloat16; },
       "numerics.dtype=bfloat16"},
      {"numerics.reduce_dtype", [](const Config& c) { return c.numerics.dtype != Dtype::float64; },
       "another numerics.dtype than float64, which reduces in float64"},
      {"numerics.tune", [](const Config& c) { return c.numerics.device == Device::cuda; },
       "numerics.device=cuda"},
      {"tokenizer.fit_clips", is_linear, "tokenizer.kind=linear"},
      {"tokenizer.whitening", is_linear, "tokenizer.kind=linear"},
      {"tokenizer.weights", is_wan, "tokenizer.kind=wan"},
      {"tokenizer.width", is_wan, "tokenizer.kind=wan"},
      {"tokenizer.dtype", is_wan, "tokenizer.kind=wan"},
      {"tokenizer.encode_window", is_wan, "tokenizer.kind=wan"},
      {"tokenizer.decode_window", is_wan, "tokenizer.kind=wan"},
      {"text.weights", reads_text, "text.kind=reason1 or t5"},
      {"text.tokenizer", reads_text, "text.kind=reason1 or t5"},
      {"text.dtype", reads_text, "text.kind=reason1 or t5"},
      {"text.join", [](const Config& c) { return c.text.kind == TextKind::reason1; }, "text.kind=reason1"},
      {"text.path", [](const Config& c) { return c.text.kind == TextKind::table; }, "text.kind=table"},
      {"sample.shift", [](const Config& c) { return c.sample.sigmas == Sigmas::linear; },
       "sample.sigmas=linear"},
      {"sample.negative_prompt",
       [](const Config& c) { return c.sample.formula == Guidance::t2w || c.sample.guidance != 0; },
       "sample.guidance other than 0 (v2w)"},
      {"sample.path", samples, "sample.every > 0 or sample.final_clips > 0"},
      {"sample.clips", [](const Config& c) { return c.sample.every > 0; }, "sample.every > 0"},
      {"data.held_out", [](const Config& c) { return c.sample.path.empty(); },
       "sample.path empty: these films would be kept from training and never shown"},
      {"sample.final_clips", [](const Config& c) { return !c.sample.path.empty() || c.data.held_out > 0; },
       "films: sample.path or data.held_out"},
      {"ckpt.keep", [](const Config& c) { return c.ckpt.every > 0; }, "ckpt.every > 0"},
      {"ckpt.keep_every", [](const Config& c) { return c.ckpt.every > 0 && c.ckpt.keep > 0; },
       "ckpt.every > 0 and ckpt.keep > 0 (0 keeps all)"},
      {"ckpt.max_mib_s", [](const Config& c) { return c.ckpt.every > 0; }, "ckpt.every > 0"},
      {"ckpt.when_busy", [](const Config& c) { return c.ckpt.every > 0; }, "ckpt.every > 0"},
  };
  return kRules;
}

}  // namespace

void check_config(const Config& config) {
  Config values = config, defaults;
  const Settings table = settings_of(values), untouched = settings_of(defaults);
  for (const auto& [key, holds, wanted] : requirements()) {
    require(holds(config), key, ": got \"", table.find(key)->show(), "\", wanted ", wanted);
  }
  for (const auto& [key, holds, needed] : effects()) {
    const std::string value = table.find(key)->show();
    require(holds(config) || value == untouched.find(key)->show(), key, "=", value,
            " has no effect: it needs ", needed);
  }
}

}  // namespace orrery::cli
