#pragma once
// Batches of the demonstration scene, made in memory: what tests of the training step are fed.
#include <ATen/ops/stack.h>

#include "base/rng.h"
#include "data/demo_render.h"
#include "data/demo_scene.h"
#include "infer/world_model.h"
#include "model/linear_tokenizer.h"
#include "train/parallelize.h"
#include "train/step.h"

namespace orrery::test {

inline constexpr int64_t kFrames = 5, kSide = 32;

// Settings of a network small enough for tests.
inline Config small_config(int64_t steps, int64_t batch) {
  Config c;
  c.model.preset = "nano";
  c.data.frames = kFrames;
  c.data.height = c.data.width = kSide;
  c.train.steps = steps;
  c.train.batch = batch;
  c.train.seed = 7;
  c.train.lr = 1e-3;
  c.optim.schedule = LrSchedule::linear;
  c.optim.warmup = 2;
  c.optim.clip = 1;
  c.flow.shift = 3;
  c.tokenizer.channels = 16;
  return c;
}

inline at::Tensor scene_film(uint64_t number) {  // (3,F,H,W)
  const DemoScene scene = draw_demo_scene(1, number);
  const DemoTask task{scene.color, static_cast<DemoVerb>(number % kDemoVerbs)};
  const DemoEpisode episode = simulate_demo(scene, task, kFrames);
  return render_demo(scene, episode.states, kSide, kSide).permute({3, 0, 1, 2}).contiguous();
}

// Slots [begin, end) of the global batch of a step.
inline StepBatch scene_batch(int64_t step, int64_t begin, int64_t end) {
  StepBatch batch;
  std::vector<at::Tensor> films;
  for (int64_t slot = begin; slot < end; ++slot) {
    const uint64_t number =
        Rng(3, "pick", {static_cast<uint64_t>(step), static_cast<uint64_t>(slot)}).below(16);
    films.push_back(scene_film(number));
    batch.captions.push_back(
        demo_prompt({draw_demo_scene(1, number).color, static_cast<DemoVerb>(number % kDemoVerbs)}, 0));
    batch.samples.push_back(slot);
  }
  batch.video = at::stack(films);
  return batch;
}

inline LinearTokenizer scene_tokenizer(int64_t channels) {
  LinearTokenizerFit fit;
  for (uint64_t i = 0; i < 8; ++i) fit.add(scene_film(i).unsqueeze(0));
  return fit.finish(channels, 0);
}

// A sharded network with initial values. local_rank: which GPU, if it is on one.
struct SceneNetwork {
  SceneNetwork(const Config& c, const Mesh& mesh, int local_rank = 0) : net(dit_config(c)) {
    parallel = parallelize_dit(net, mesh, c, device_of(c.numerics, local_rank));
    parallel.fsdp->initialize(static_cast<uint64_t>(c.train.seed));
  }
  DiT net;
  Fsdp& fsdp() const { return *parallel.fsdp; }
  ParallelDiT parallel;
};

}  // namespace orrery::test
