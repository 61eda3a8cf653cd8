#pragma once
// A small network with its training step, alone on one rank.
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "train/scene_batches.h"

namespace orrery::test {

// A network with its step, trained for some steps.
struct Trainee {
  explicit Trainee(const Config& c)
      : config(c),
        net(scene_network(config)),
        tokenizer(scene_tokenizer(config.tokenizer.channels)),
        text(make_text_encoder(config)),
        comm(single_rank_comm("alone")),
        step(config, *net, tokenizer, *text, *comm) {}

  double train(int64_t from, int64_t to) {
    double loss = 0;
    for (int64_t i = from; i < to; ++i) loss = step(scene_batch(i, 0, config.train.batch), i).loss;
    return loss;
  }

  const Config config;
  std::unique_ptr<DiT> net;
  LinearTokenizer tokenizer;
  std::unique_ptr<TextEncoder> text;
  std::unique_ptr<Comm> comm;
  TrainStep step;
};

inline void expect_same_weights(const Trainee& a, const Trainee& b) {
  const auto wa = named_weights(*a.net), wb = named_weights(*b.net);
  for (size_t i = 0; i < wa.size(); ++i) EXPECT_TRUE(at::equal(wa[i].second, wb[i].second)) << wa[i].first;
}

}  // namespace orrery::test
