#pragma once
// A small network with its training step, alone on one rank.
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <numeric>

#include "infer/make_text_encoder.h"
#include "train/checkpoint_saver.h"
#include "train/scene_batches.h"

namespace orrery::test {

// A network with its step, trained for some steps.
struct Trainee {
  explicit Trainee(const Config& c)
      : config(c),
        comm(single_rank_comm("alone", device_of(c.numerics, 0).type())),
        mesh(*comm, {0}, {}),
        model(config, mesh),
        tokenizer(scene_tokenizer(config.tokenizer.channels)),
        text(make_text_encoder(config, at::kCPU)),
        step(config, model.net, model.parallel, mesh, tokenizer, *text) {}

  double train(int64_t from, int64_t to) {
    double loss = 0;
    for (int64_t i = from; i < to; ++i) loss = step(scene_batch(i, 0, config.train.batch), i).loss;
    return loss;
  }
  // Latents, noise and times of clips of any size (B,C,T,h,w), drawn on the device of the run.
  flow::FlowBatch drawn(at::IntArrayRef shape) const {
    const at::Device device = device_of(config.numerics, 0);
    std::vector<int64_t> samples(static_cast<size_t>(shape[0]));
    std::iota(samples.begin(), samples.end(), 0);
    const flow::TimeConfig time = flow::time_config(config.flow);
    return {.x0 = Rng(5, "x0").normal_tensor(shape).to(device),
            .noise = Rng(5, "noise").normal_tensor(shape).to(device),
            .times = flow::times_from_draws(time, flow::draw_times(time, 1, 0, samples)),
            .num_condition_frames = flow::num_condition_frames(
                flow::frame_law(config.flow), flow::draw_condition_frames(1, 0, samples), shape[2]),
            .text = text->encode(std::vector<std::string>(samples.size(), "a red ball"))
                        .to(device, model.net.dtype())};
  }
  DiT& net() { return model.net; }
  const DiT& net() const { return model.net; }
  RunState state() { return {model.net, model.fsdp(), step, record, mesh, *host}; }
  // A checkpoint after `steps_done` steps, complete on return.
  void save(int64_t steps_done) {
    CheckpointSaver saver(config, state(), "", [](const SaveReport& r) { EXPECT_EQ(r.reason, ""); });
    saver.save(steps_done, true);
    EXPECT_TRUE(saver.finish());
  }
  // Goes on from what train.resume says; the steps done.
  int64_t resume() {
    Resume from = find_checkpoint(config, *host);
    return restore(from, config, state(), [](const auto&) {});
  }

  const Config config;
  std::unique_ptr<Comm> comm, host = single_rank_comm("host");
  Mesh mesh;
  SceneNetwork model;
  LinearTokenizer tokenizer;
  const TokenizerRecord record = record_of(tokenizer);
  std::unique_ptr<TextEncoder> text;
  TrainStep step;
};

inline void expect_same_weights(const Trainee& a, const Trainee& b) {
  const auto &wa = a.model.fsdp().weights(), &wb = b.model.fsdp().weights();
  ASSERT_EQ(wa.size(), wb.size());
  for (size_t i = 0; i < wa.size(); ++i) EXPECT_TRUE(at::equal(wa[i].local, wb[i].local)) << wa[i].name;
}

}  // namespace orrery::test
