#include "parity/optim.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <limits>

#include "optim/adamw.h"
#include "optim/ema.h"
#include "optim/grad_clip.h"
#include "optim/lr_schedule.h"
#include "parity/options.h"

namespace orrery {
namespace {

constexpr std::string_view kGrads = "grads.";

// fp32: everything in the case's dtype; bf16_master: bfloat16 weights with float32 masters; bf16: without.
enum class AdamWMode { fp32, bf16_master, bf16 };

struct AdamWRun {
  AdamWMode mode;
  int64_t steps;
  std::vector<double> lr;
  std::vector<NamedTensor> weights;  // changed by the run
  std::vector<at::Tensor> grads;     // [steps, ...]
};

AdamWConfig adamw_config(const Case& c, AdamWMode mode) {
  const auto betas = c.option<std::vector<double>>("betas");
  require(betas.size() == 2, "config option betas has ", betas.size(), " numbers, wanted 2");
  return {.master_weights = mode == AdamWMode::bf16_master,
          .beta1 = betas[0],
          .beta2 = betas[1],
          .eps = c.option<double>("eps"),
          .weight_decay = c.option<double>("weight_decay"),
          .no_decay = c.option_or("no_decay", std::vector<std::string>{})};
}

std::vector<double> rates_of(const Case& c, int64_t steps) {
  if (!c.has_input("lr")) return std::vector<double>(steps, c.option<double>("lr"));
  const at::Tensor lr = c.input("lr", at::kCPU).to(at::kDouble).contiguous();
  require(lr.dim() == 1 && lr.size(0) == steps, "inputs.lr has shape ", lr.sizes(), ", wanted [", steps, "]");
  return {lr.const_data_ptr<double>(), lr.const_data_ptr<double>() + steps};
}

AdamWRun adamw_run(const Case& c, at::Device device) {
  constexpr int64_t kMostSteps = 1000000;
  AdamWRun run{
      .mode = choice<AdamWMode>(
          c, "mode",
          {{"fp32", AdamWMode::fp32}, {"bf16_master", AdamWMode::bf16_master}, {"bf16", AdamWMode::bf16}}),
      .steps = c.option<int64_t>("steps"),
      .lr = {},
      .weights = {},
      .grads = {}};
  require(run.steps >= 1 && run.steps <= kMostSteps, "config option steps is ", run.steps, ", wanted 1 to ",
          kMostSteps);
  run.lr = rates_of(c, run.steps);
  const at::ScalarType type = run.mode == AdamWMode::fp32 ? c.dtype : at::kBFloat16;
  for (const auto& [key, stored] : c.weights) {
    const at::Tensor grad = c.input(std::string(kGrads) + key, device);
    require(grad.dim() >= 1 && grad.size(0) == run.steps && grad.sizes().slice(1) == stored.sizes(),
            "inputs.grads.", key, " has shape ", grad.sizes(), " for a weight ", stored.sizes(), " and ",
            run.steps, " steps");
    run.weights.push_back({key, stored.to(device).to(type).contiguous().clone()});
    run.grads.push_back(grad);
  }
  return run;
}

// The cycles of lambda_linear and lambda_cosine: five lists of one length.
std::vector<LrCycle> cycles_of(const Case& c) {
  const auto warm_up = c.option<std::vector<int64_t>>("warm_up_steps"),
             length = c.option<std::vector<int64_t>>("cycle_lengths");
  const auto start = c.option<std::vector<double>>("f_start"), max = c.option<std::vector<double>>("f_max"),
             min = c.option<std::vector<double>>("f_min");
  require(warm_up.size() == length.size() && start.size() == length.size() && max.size() == length.size() &&
              min.size() == length.size(),
          "config options warm_up_steps, cycle_lengths, f_start, f_max and f_min differ in length");
  std::vector<LrCycle> cycles;
  for (size_t i = 0; i < length.size(); ++i)
    cycles.push_back({warm_up[i], length[i], start[i], max[i], min[i]});
  return cycles;
}

LrConfig lr_config(const Case& c) {
  const auto kind = choice<LrSchedule>(c, "scheduler_type",
                                       {{"lambda_linear", LrSchedule::lambda_linear},
                                        {"lambda_cosine", LrSchedule::lambda_cosine},
                                        {"linear_warmup", LrSchedule::linear},
                                        {"cosine_warmup", LrSchedule::cosine},
                                        {"constant_warmup", LrSchedule::constant}});
  if (kind == LrSchedule::lambda_linear || kind == LrSchedule::lambda_cosine) {
    require_known_options(
        c, {"scheduler_type", "warm_up_steps", "f_start", "f_max", "f_min", "cycle_lengths", "lr", "source"});
    return {.kind = kind, .cycles = cycles_of(c)};
  }
  require_known_options(c, {"scheduler_type", "warmup_ratio", "warmup_steps", "max_steps", "lr", "source"});
  const int64_t steps = c.option<int64_t>("max_steps");
  const double ratio = c.option_or("warmup_ratio", 0.0);
  require(steps >= 0 && ratio >= 0 && ratio <= 1, "config options max_steps and warmup_ratio are ", steps,
          " and ", ratio, ", wanted a number >= 0 and a share");
  // transformers' TrainingArguments: warmup_steps wins, else the ratio, rounded up.
  const double by_ratio = std::ceil(static_cast<double>(steps) * ratio);
  const int64_t warmup = c.option_or<int64_t>("warmup_steps", 0);
  return {.kind = kind, .warmup = warmup > 0 ? warmup : static_cast<int64_t>(by_ratio), .steps = steps};
}

EmaConfig ema_config(const Case& c) {
  const auto kind = choice<Ema>(
      c, "kind", {{"power", Ema::power}, {"constant", Ema::constant}, {"flow_grpo", Ema::flow_grpo}});
  require_known_options(
      c, {"kind", "rate", "iteration_shift", "start_iteration", "beta", "decay", "update_step_interval"});
  EmaConfig config{.kind = kind};
  if (kind == Ema::power) {
    config.rate = c.option<double>("rate");
    config.iteration_shift = c.option_or<int64_t>("iteration_shift", 0);
  } else if (kind == Ema::constant) {
    config.decay = c.option<double>("beta");
  } else {
    config.decay = c.option<double>("decay");
    config.interval = c.option_or<int64_t>("update_step_interval", 1);
  }
  return config;
}

double norm_type(const Case& c) {
  if (!c.config.contains("norm_type")) return 2;
  if (c.config.at("norm_type").is_string()) {
    require(c.option<std::string>("norm_type") == "inf",
            "config option norm_type is neither a number nor inf");
    return std::numeric_limits<double>::infinity();
  }
  return c.option<double>("norm_type");
}

}  // namespace

NamedTensors run_adamw(const Case& c, at::Device device) {
  require_known_options(c, {"mode", "steps", "lr", "betas", "eps", "weight_decay", "no_decay"});
  AdamWRun run = adamw_run(c, device);
  AdamW adamw(adamw_config(c, run.mode), run.weights);
  std::vector<at::Tensor> start;
  std::map<std::string, std::vector<at::Tensor>> history;  // by result
  for (const NamedTensor& weight : run.weights) start.push_back(weight.tensor.clone());
  for (int64_t step = 0; step < run.steps; ++step) {
    std::vector<at::Tensor> grads;
    for (const at::Tensor& grad : run.grads) grads.push_back(grad.select(0, step));
    adamw.step(grads, run.lr[step]);
    for (const NamedTensor& weight : run.weights)
      history["param." + weight.name].push_back(weight.tensor.clone());
    for (const NamedTensor& state : adamw.state())
      if (state.name.starts_with("master.")) history[state.name].push_back(state.tensor.clone());
  }
  NamedTensors results;
  for (const auto& [name, values] : history) results[name] = at::stack(values);
  for (size_t i = 0; i < start.size(); ++i) {
    const auto& [name, weight] = run.weights[i];
    const auto master = history.find("master." + name);
    results["delta." + name] = (master == history.end() ? weight : master->second.back()) - start[i];
    if (run.mode == AdamWMode::bf16_master) results["param." + name] = weight;
  }
  for (const NamedTensor& state : adamw.state())
    if (state.name.starts_with("exp_avg")) results[state.name] = state.tensor;
  return wanted(c, std::move(results));
}

NamedTensors run_lr_schedule(const Case& c, at::Device) {
  const LrConfig config = lr_config(c);
  const at::Tensor iteration = c.input("iteration", at::kCPU).to(at::kLong).contiguous();
  at::Tensor factors = at::empty(iteration.sizes(), at::kDouble);
  for (int64_t i = 0; i < iteration.numel(); ++i)
    factors.mutable_data_ptr<double>()[i] = lr_factor(config, iteration.const_data_ptr<int64_t>()[i]);
  return wanted(c, {{"multiplier", factors}, {"lr", factors * c.option<double>("lr")}});
}

NamedTensors run_ema_power(const Case& c, at::Device device) {
  const EmaConfig config = ema_config(c);
  const int64_t start = c.option_or<int64_t>("start_iteration", 0);
  require(start >= 0 && start < int64_t{1} << 40, "config option start_iteration is ", start);
  const auto source =
      c.inputs.find("weights");  // in its own type: the average of bfloat16 weights is float32
  require(source != c.inputs.end() && source->second.dim() >= 1, "the file has no list inputs.weights");
  const at::Tensor weights = source->second.to(device);
  const at::Tensor initial = c.input("initial", device);
  const at::Tensor weight = initial.to(weights.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  AveragedWeights averaged(config, {{"w", weight}});
  averaged.averages()[0].tensor.copy_(initial);
  std::vector<at::Tensor> averages;
  std::vector<double> betas;
  for (int64_t i = 0; i < weights.size(0); ++i) {
    weight.copy_(weights.select(0, i));
    averaged.update(start + i);
    averages.push_back(averaged.averages()[0].tensor.clone());
    betas.push_back(ema_beta(config, start + i));
  }
  NamedTensors results{{"ema", at::stack(averages)}, {"beta", at::tensor(betas, at::kDouble)}};
  if (config.kind == Ema::power) results["gamma"] = at::full({}, ema_power_gamma(config.rate), at::kDouble);
  return wanted(c, std::move(results));
}

NamedTensors run_clip_grad_norm(const Case& c, at::Device device) {
  require_known_options(c, {"max_norm", "norm_type", "force_finite"});
  std::vector<NamedTensor> grads;
  for (const auto& [name, unused] : c.inputs) grads.push_back({name, c.input(name, device).clone()});
  GradClip clip({.max_norm = c.option<double>("max_norm"),
                 .norm_type = norm_type(c),
                 .nonfinite = c.option_or("force_finite", true) ? NonFinite::zero : NonFinite::stop});
  const ClipResult clipped = clip(grads);
  NamedTensors results{{"total_norm", at::full({}, clipped.norm, at::kDouble)}};
  for (const NamedTensor& grad : grads) results.emplace(grad.name, grad.tensor);
  return wanted(c, std::move(results));
}

}  // namespace orrery
