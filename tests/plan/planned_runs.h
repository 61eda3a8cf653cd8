#pragma once
// A planned step beside a real one whose memory is counted.
#include <gtest/gtest.h>

#include "base/memory.h"
#include "infer/make_text_encoder.h"
#include "plan/dry_run.h"
#include "train/scene_batches.h"

namespace orrery::test {

// The second step of a run: the first one has its one-time allocations behind it.
inline MemoryUsage counted_peak(const Config& config, const Mesh& mesh) {
  MemoryMeter meter(at::kCPU);
  SceneNetwork model(config, mesh);
  const LinearTokenizer tokenizer = scene_tokenizer(config.tokenizer.channels);
  const auto text = make_text_encoder(config, at::kCPU);
  TrainStep step(config, model.net, model.parallel, mesh, tokenizer, *text);
  const int64_t clips = config.train.batch / mesh.data().size(), begin = clips * mesh.data().rank();
  for (int64_t i = 0; i < 2; ++i) {
    meter.reset_peak();
    step(scene_batch(i, begin, begin + clips), i);
  }
  return meter.peak();
}

inline std::string describe(const MemoryUsage& usage) {
  std::string text;
  for (size_t i = 0; i < kNumMemoryUses; ++i)
    text += text_of(name_of(static_cast<MemoryUse>(i)), " ", usage.bytes[i], ", ");
  return text + text_of("total ", usage.total());
}

inline void expect_planned_is_counted(const Config& config) {
  const auto comm = single_rank_comm("alone");
  const MemoryUsage counted = counted_peak(config, Mesh(*comm, {0}, {})),
                    planned = dry_run(config, {0}, read_ceilings("cpu")).memory;
  EXPECT_NEAR(static_cast<double>(planned.total()) / static_cast<double>(counted.total()), 1, 0.01)
      << config.model.preset << ", " << name_of(config.memory.policy) << ", micro-batch "
      << config.train.micro_batch << "\nplanned: " << describe(planned) << "\ncounted: " << describe(counted);
}

// 64 ranks train a released network.
inline Config released(const std::string& preset, int64_t shard, int64_t context, MemoryPolicy policy) {
  Config c;
  c.model.preset = preset;
  c.numerics.dtype = Dtype::bfloat16;
  c.parallel.shard = shard;
  c.parallel.context = context;
  c.train.batch = 64 / context;
  c.memory.policy = policy;
  return c;
}

}  // namespace orrery::test
