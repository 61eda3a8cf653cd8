#include "parity/sampler.h"

#include <ATen/ops/stack.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tensor.h>

#include "flow/generate.h"
#include "flow/numpy_random.h"
#include "parity/derivatives.h"
#include "parity/dit.h"
#include "parity/options.h"

namespace orrery {
namespace {

Sigmas sigmas_kind(const Case& c) {
  return c.option<bool>("use_kerras_sigma_at_inference") ? Sigmas::karras : Sigmas::linear;
}

void add_levels(const flow::NoiseLevels& levels, NamedTensors& results) {
  results["sigmas"] = at::tensor(levels.sigmas);
  results["timesteps"] = at::tensor(levels.timesteps, at::kLong);
}

// The solver's own options, which this sampler has with one value only.
void check_solver(const Case& c) {
  require(c.option_or<int64_t>("solver_order", 2) == 2, "config option solver_order: only 2 is known");
  require(c.option_or<std::string>("solver_type", "bh2") == "bh2",
          "config option solver_type: only bh2 is known");
}

// v(x, sigma) = A x + sigma b + tanh(x) c, elementwise: the stand-in network of the golden cases.
NamedTensors run_sampler(const Case& c, at::Device device, SamplerKind kind) {
  require_known_options(
      c, {"num_steps", "shift", "use_kerras_sigma_at_inference", "solver_order", "solver_type"});
  check_solver(c);
  const flow::NoiseLevels levels =
      flow::noise_levels(sigmas_kind(c), c.option<int64_t>("num_steps"), c.option<double>("shift"));
  const at::Tensor a = c.input("A", device), b = c.input("b", device), s = c.input("c", device);
  const auto velocity = [&](const at::Tensor& x, const flow::SamplerStep& step) {
    return a * x + step.sigma * b + at::tanh(x) * s;
  };
  std::vector<at::Tensor> states;
  const auto keep = [&](const flow::SamplerStep&, const at::Tensor& x) {
    if (c.wants("x_steps")) states.push_back(x);
  };
  NamedTensors results;
  results["x"] = flow::sample(kind, levels, c.input("noise", device), velocity, keep);
  if (c.wants("x_steps")) results["x_steps"] = at::stack(states);
  add_levels(levels, results);
  return wanted(c, std::move(results));
}

int64_t number(const Case& c, const std::string& name) {
  const at::Tensor value = c.input(name, at::kCPU);
  require(value.numel() == 1 && !value.is_floating_point(), "inputs.", name, " is not one integer");
  return value.item<int64_t>();
}

flow::GenerateConfig generate_config(const Case& c) {
  return {.sampler = SamplerKind::unipc,
          .sigmas = sigmas_kind(c),
          .steps = c.option<int64_t>("num_steps"),
          .shift = c.option<double>("shift"),
          .guidance = c.option<double>("guidance"),
          .formula = Guidance::v2w,
          .condition_frames = c.option<int64_t>("num_conditional_frames"),
          .denoise = {.precision = c.dtype,
                      .condition_timestep = c.option_or("conditional_frame_timestep", -1.0),
                      .replace_condition = c.option_or("denoise_replace_gt_frames", true)}};
}

flow::GenerateInput generate_input(const Case& c, at::Device device) {
  const at::Tensor x0 = c.input("x0", device);
  flow::GenerateInput in{.noise = flow::numpy_normal(number(c, "seed"), x0.sizes()).to(x0.options()),
                         .x0 = x0};
  in.text = c.input("crossattn_emb", device).to(c.dtype);
  if (c.option_or("is_negative_prompt", false))
    in.negative_text = c.input("neg_crossattn_emb", device).to(c.dtype);
  if (c.has_input("padding_mask")) in.padding_mask = c.input("padding_mask", device);
  if (c.has_input("fps")) in.fps = c.input("fps", device);
  in.kind = c.option_or<std::string>("data_type", "video") == "image" ? flow::BatchKind::image
                                                                      : flow::BatchKind::video;
  return in;
}

}  // namespace

NamedTensors run_sampler_unipc(const Case& c, at::Device device) {
  return run_sampler(c, device, SamplerKind::unipc);
}
NamedTensors run_sampler_euler(const Case& c, at::Device device) {
  return run_sampler(c, device, SamplerKind::euler);
}

NamedTensors run_rng_numpy_normal(const Case& c, at::Device) {
  require_known_options(c, {});
  const at::Tensor shape = c.input("shape", at::kCPU).contiguous();
  require(shape.scalar_type() == at::kLong && shape.dim() == 1, "inputs.shape is not a list of int64");
  return {{"noise", flow::numpy_normal(number(c, "seed"), {shape.const_data_ptr<int64_t>(),
                                                           static_cast<size_t>(shape.numel())})}};
}

NamedTensors run_guidance(const Case& c, at::Device device) {
  require_known_options(c, {"formula", "guidance"});
  const auto formula = choice<Guidance>(c, "formula", {{"v2w", Guidance::v2w}, {"t2w", Guidance::t2w}});
  return {{"v", flow::guided(formula, c.option<double>("guidance"), c.input("v_cond", device),
                             c.input("v_uncond", device))}};
}

NamedTensors run_generate_latent(const Case& c, at::Device device) {
  require_known_options(c, {"net", "num_steps", "shift", "guidance", "use_kerras_sigma_at_inference",
                            "data_type", "conditional_frame_timestep", "num_conditional_frames",
                            "is_negative_prompt", "denoise_replace_gt_frames"});
  DiT dit(dit_config(c.option<Json>("net")));
  load_weights(dit, c, device);
  const auto net = [&](const flow::DenoiserInput& in) {
    return dit({.x = in.x,
                .timesteps = in.timesteps,
                .crossattn_emb = Variable(in.text),
                .condition_mask = in.condition_mask,
                .padding_mask = in.padding_mask,
                .fps = in.fps,
                .is_image = in.kind == flow::BatchKind::image});
  };
  const flow::GenerateConfig config = generate_config(c);
  const flow::GenerateInput in = generate_input(c, device);
  std::vector<at::Tensor> states;
  const auto keep = [&](const flow::SamplerStep&, const at::Tensor& x) { states.push_back(x); };
  NamedTensors results{{"latent", flow::generate_latent(config, net, in, keep)}, {"noise", in.noise}};
  if (c.wants("latent_steps")) results["latent_steps"] = at::stack(states);
  add_levels(flow::noise_levels(config.sigmas, config.steps, config.shift), results);
  return wanted(c, std::move(results));
}

}  // namespace orrery
