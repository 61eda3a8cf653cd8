// The runners of flow, sampler and optim beyond their golden cases: options and inputs that must be refused.
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include "parity/flow.h"
#include "parity/optim.h"
#include "parity/sampler.h"

namespace orrery {
namespace {

using Options = nlohmann::ordered_json;
using testing::HasSubstr;

Case make(const char* module, const char* config, NamedTensors inputs, NamedTensors weights = {}) {
  Case c;
  c.module = module;
  c.config = Options::parse(config);
  c.inputs = std::move(inputs);
  c.weights = std::move(weights);
  c.expects_all = true;
  return c;
}

template <class Run>
std::string refusal(Run run, const Case& c) {
  try {
    run(c, at::kCPU);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

constexpr const char* kTime =
    R"({"variant": "discrete", "shift": 5, "train_time_distribution": "logitnormal"})";

TEST(FlowRunners, unknown_options_and_words_are_refused) {
  const NamedTensors draw{{"time_draw", at::zeros({3})}};
  EXPECT_EQ(refusal(run_flow_time, make("flow_time", kTime, draw)), "accepted");
  EXPECT_THAT(refusal(run_flow_time, make("flow_time", R"({"variant": "table", "shift": 5,
              "train_time_distribution": "uniform"})",
                                          draw)),
              HasSubstr("variant is table"));
  EXPECT_THAT(refusal(run_flow_time, make("flow_time", R"({"variant": "discrete", "shift": 5,
              "train_time_distribution": "waver_mode_1.5"})",
                                          draw)),
              HasSubstr("waver_mode_1.5"));
  EXPECT_THAT(refusal(run_flow_time, make("flow_time", R"({"variant": "discrete", "shift": 5, "shfit": 1,
              "train_time_distribution": "uniform"})",
                                          draw)),
              HasSubstr("shfit"));
}

TEST(FlowRunners, choices_keep_the_order_of_the_file) {
  const auto counts = [](const char* config) {
    const NamedTensors uniform{{"uniform", at::tensor({0.2, 0.9}, at::kDouble)}};
    const NamedTensors out =
        run_flow_condition_frames(make("flow_condition_frames", config, uniform), at::kCPU);
    const at::Tensor n = out.at("num_conditional_frames");
    return std::pair{n[0].item<int64_t>(), n[1].item<int64_t>()};
  };
  EXPECT_EQ(counts(R"({"num_frames": 24, "conditional_frames_probs": {"2": 0.5, "10": 0.5}})"),
            (std::pair<int64_t, int64_t>{2, 10}));
  EXPECT_EQ(counts(R"({"num_frames": 24, "conditional_frames_probs": {"10": 0.5, "2": 0.5}})"),
            (std::pair<int64_t, int64_t>{10, 2}));
  EXPECT_EQ(counts(R"({"num_frames": 24, "min_num_conditional_frames": 3, "max_num_conditional_frames": 4})"),
            (std::pair<int64_t, int64_t>{3, 4}));
}

TEST(FlowRunners, bad_frame_laws_are_refused) {
  const NamedTensors uniform{{"uniform", at::zeros({1}, at::kDouble)}};
  for (const char* config : {R"({"num_frames": 24, "conditional_frames_probs": {"-1": 1}})",
                             R"({"num_frames": 24, "conditional_frames_probs": {"one": 1}})",
                             R"({"num_frames": 24, "conditional_frames_probs": {"1": "x"}})",
                             R"({"num_frames": 24, "conditional_frames_probs": {}})",
                             R"({"num_frames": 24, "conditional_frames_probs": [1]})",
                             R"({"num_frames": 99999999999, "conditional_frames_probs": {"1": 1}})"})
    EXPECT_NE(refusal(run_flow_condition_frames, make("flow_condition_frames", config, uniform)), "accepted")
        << config;
}

TEST(SamplerRunners, hostile_sizes_are_refused_before_they_are_allocated) {
  const NamedTensors seed{{"seed", at::zeros({}, at::kLong)},
                          {"shape", at::tensor({int64_t{1} << 40, int64_t{1} << 40}, at::kLong)}};
  EXPECT_THAT(refusal(run_rng_numpy_normal, make("rng_numpy_normal", "{}", seed)), HasSubstr("shape"));
  NamedTensors inputs;
  for (const char* name : {"A", "b", "c", "noise"}) inputs[name] = at::ones({2});
  EXPECT_THAT(refusal(run_sampler_unipc, make("sampler_unipc", R"({"num_steps": 1000000000000, "shift": 5,
              "use_kerras_sigma_at_inference": false})",
                                              inputs)),
              HasSubstr("steps"));
  EXPECT_THAT(
      refusal(run_sampler_unipc, make("sampler_unipc", R"({"num_steps": 4, "shift": 5, "solver_order": 3,
              "use_kerras_sigma_at_inference": false})",
                                      inputs)),
      HasSubstr("solver_order"));
}

TEST(OptimRunners, results_that_the_file_does_not_hold_are_left_out) {
  Case c = make("lr_schedule",
                R"({"scheduler_type": "cosine_warmup", "warmup_ratio": 0.05, "max_steps": 100, "lr": 1})",
                {{"iteration", at::zeros({1}, at::kLong)}});
  EXPECT_EQ(run_lr_schedule(c, at::kCPU).size(), 2u);
  c.expects_all = false;
  c.expected["lr"] = at::zeros({1}, at::kDouble);
  EXPECT_EQ(run_lr_schedule(c, at::kCPU).size(), 1u);
}

TEST(OptimRunners, bad_schedules_and_shapes_are_refused) {
  const NamedTensors iteration{{"iteration", at::full({1}, 20, at::kLong)}};
  EXPECT_THAT(refusal(run_lr_schedule, make("lr_schedule", R"({"scheduler_type": "lambda_linear", "lr": 1,
              "warm_up_steps": [1], "cycle_lengths": [10, 10], "f_start": [0], "f_max": [1], "f_min": [0]})",
                                            iteration)),
              HasSubstr("differ in length"));
  EXPECT_THAT(refusal(run_lr_schedule, make("lr_schedule", R"({"scheduler_type": "lambda_linear", "lr": 1,
              "warm_up_steps": [1], "cycle_lengths": [10], "f_start": [0], "f_max": [1], "f_min": [0]})",
                                            iteration)),
              HasSubstr("beyond"));
  EXPECT_THAT(refusal(run_lr_schedule, make("lr_schedule", R"({"scheduler_type": "cosine_warmup", "lr": 1,
              "warmup_ratio": 1e300, "max_steps": 10})",
                                            iteration)),
              HasSubstr("warmup_ratio"));
  EXPECT_THAT(refusal(run_adamw, make("adamw", R"({"mode": "fp32", "steps": 2, "lr": 1, "betas": [0.9, 0.99],
              "eps": 0, "weight_decay": 0})",
                                      {{"grads.w", at::ones({1, 3})}}, {{"w", at::ones({3})}})),
              HasSubstr("grads.w"));
  EXPECT_THAT(refusal(run_clip_grad_norm, make("clip_grad_norm", R"({"max_norm": 1, "norm_type": "two"})",
                                               {{"g", at::ones({3})}})),
              HasSubstr("norm_type"));
}

TEST(OptimRunners, golden_weights_are_not_changed_in_place) {
  const at::Tensor weight = at::ones({3}), grad = at::ones({1, 3}), clipped = at::ones({3});
  run_adamw(
      make("adamw",
           R"({"mode": "fp32", "steps": 1, "lr": 1, "betas": [0.9, 0.99], "eps": 0, "weight_decay": 0})",
           {{"grads.w", grad}}, {{"w", weight}}),
      at::kCPU);
  run_clip_grad_norm(make("clip_grad_norm", R"({"max_norm": 0.1})", {{"g", clipped}}), at::kCPU);
  EXPECT_EQ(weight.sum().item<float>(), 3);
  EXPECT_EQ(clipped.sum().item<float>(), 3);
}

}  // namespace
}  // namespace orrery
