#pragma once
// A planned step beside a real one whose memory is counted.
#include "base/memory.h"
#include "plan/dry_run.h"
#include "train/scene_batches.h"

namespace orrery::test {

// The second step of a run: the first one has its one-time allocations behind it.
inline MemoryUsage counted_peak(const Config& config, const Mesh& mesh) {
  MemoryMeter meter(at::kCPU);
  SceneNetwork model(config, mesh);
  const LinearTokenizer tokenizer = scene_tokenizer(config.tokenizer.channels);
  const auto text = make_text_encoder(config);
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

}  // namespace orrery::test
