#pragma once
// A small network with its training step, alone on one rank.
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

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
