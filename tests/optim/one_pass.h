#pragma once
// A step whose update scales the gradients and moves the averages, and the same step in passes of their own.
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "optim/adamw.h"
#include "optim/ema.h"
#include "optim/grad_clip.h"

namespace orrery::test {

class Stepper {
 public:
  Stepper(const AdamWConfig& config, const EmaConfig& ema, std::vector<NamedTensor> weights)
      : weights_(std::move(weights)), adamw_(config, weights_), averaged_(ema, weights_) {}

  // Both clip to norm 1, and leave grads as they are.
  void in_passes(const std::vector<at::Tensor>& grads, double lr, int64_t iteration) {
    std::vector<NamedTensor> named;
    std::vector<at::Tensor> scaled;
    for (const at::Tensor& grad : grads) {
      scaled.push_back(grad.defined() ? grad.clone() : grad);
      named.push_back({"g", scaled.back()});
    }
    EXPECT_LT(clip_(named).scale, 1);
    adamw_.step(scaled, lr);
    averaged_.update(iteration);
  }
  // Returns what the step left of the averages.
  DueAverages in_one(const std::vector<at::Tensor>& grads, double lr, int64_t iteration) {
    std::vector<NamedTensor> named;
    for (const at::Tensor& grad : grads) named.push_back({"g", grad});
    const ClipResult clipped = clip_.decide(named, clip_.measure(named).cpu());
    DueAverages due =
        adamw_.step(grads, {.lr = lr, .grad_scale = clipped.scale, .averages = averaged_.due(iteration)});
    averaged_.finish(due);
    return due;
  }

  // Weights, state of the optimizer and averages.
  std::vector<NamedTensor> all() const {
    std::vector<NamedTensor> out = weights_;
    for (const NamedTensor& t : adamw_.state()) out.push_back(t);
    for (const NamedTensor& t : averaged_.averages()) out.push_back({"average." + t.name, t.tensor});
    return out;
  }

 private:
  std::vector<NamedTensor> weights_;
  AdamW adamw_;
  AveragedWeights averaged_;
  GradClip clip_{{.max_norm = 1}};
};

inline void expect_same_bits(const Stepper& got, const Stepper& want) {
  const std::vector<NamedTensor> a = got.all(), b = want.all();
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i].tensor, b[i].tensor)) << a[i].name;
}

// The kinds that AveragedWeights tells apart: from iteration 0 on the first forgets the start, the second
// goes from far to near the weights, the third moves at every other iteration.
inline const std::vector<EmaConfig> kAverages = {{.kind = Ema::power},
                                                 {.kind = Ema::constant, .decay = 0.3},
                                                 {.kind = Ema::flow_grpo, .decay = 0.9, .interval = 2}};

}  // namespace orrery::test
