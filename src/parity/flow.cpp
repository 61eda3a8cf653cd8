#include "parity/flow.h"

#include "flow/objective.h"
#include "parity/derivatives.h"
#include "parity/options.h"

namespace orrery {
namespace {

constexpr std::string_view kWaver = "waver_mode_1.29";

// Draws enter in the type they were drawn in, whatever the case's dtype.
at::Tensor draw(const Case& c, const std::string& name, at::ScalarType type) {
  return c.input(name, at::kCPU).to(type).contiguous();
}

flow::TimeConfig time_config(const Case& c) {
  const bool high = c.option_or("use_high_sigma_strategy", false);
  return {
      .table = choice<TimeTable>(c, "variant",
                                 {{"discrete", TimeTable::discrete}, {"continuous", TimeTable::continuous}}),
      .law = choice<TimeLaw>(
          c, "train_time_distribution",
          {{"logitnormal", TimeLaw::logit_normal}, {"uniform", TimeLaw::uniform}, {kWaver, TimeLaw::waver}}),
      .shift = c.option<double>("shift"),
      .high_sigma_ratio = high ? c.option<double>("high_sigma_ratio") : 0,
      .high_sigma_min = high ? c.option<double>("high_sigma_timesteps_min") : 0,
      .high_sigma_max = high ? c.option<double>("high_sigma_timesteps_max") : flow::kNumTimesteps};
}

flow::Times times_of(const Case& c) {
  const flow::TimeConfig config = time_config(c);
  flow::TimeDraws draws{.time = draw(c, "time_draw", at::kFloat)};
  if (config.high_sigma_ratio > 0) {
    draws.high_uniform = draw(c, "high_sigma_uniform", at::kFloat);
    draws.high_index = draw(c, "high_sigma_index", at::kLong);
  }
  return flow::times_from_draws(config, draws);
}

flow::DenoiseConfig denoise_config(const Case& c) {
  const auto weight = c.option_or<std::string>("train_time_weight", "uniform");
  require(weight == "uniform" || weight == "reweighting", "config option train_time_weight is ", weight,
          ", wanted uniform or its alias reweighting");
  return {.precision = choice<at::ScalarType>(c, "precision",
                                              {{"float32", at::kFloat},
                                               {"bfloat16", at::kBFloat16},
                                               {"float64", at::kDouble},
                                               {"float16", at::kHalf}}),
          .condition_timestep = c.option_or("conditional_frame_timestep", -1.0),
          .replace_condition = c.option_or("denoise_replace_gt_frames", true),
          .use_video_condition = c.option_or("use_video_condition", true)};
}

NamedVariables outputs_of(const flow::FlowLoss& out, const flow::Times& times) {
  NamedVariables outputs{{"t", Variable(times.t)},
                         {"sigmas", Variable(times.sigmas)},
                         {"timesteps", Variable(times.timesteps)},
                         {"xt", Variable(out.x_t)},
                         {"vt", Variable(out.target)},
                         {"net_x", out.inputs.x},
                         {"net_timesteps", out.inputs.timesteps},
                         {"pred", out.velocity},
                         {"loss", out.loss}};
  if (out.inputs.condition_mask.defined())
    outputs.emplace("condition_mask", Variable(out.inputs.condition_mask.contiguous()));
  return outputs;
}

}  // namespace

NamedTensors run_flow_time(const Case& c, at::Device) {
  require_known_options(c, {"variant", "shift", "train_time_distribution", "use_high_sigma_strategy",
                            "high_sigma_ratio", "high_sigma_timesteps_min", "high_sigma_timesteps_max"});
  const flow::Times times = times_of(c);
  return wanted(c, {{"t", times.t}, {"sigmas", times.sigmas}, {"timesteps", times.timesteps}});
}

NamedTensors run_flow_train(const Case& c, at::Device device) {
  require_known_options(c, {"variant", "shift", "train_time_distribution", "train_time_weight",
                            "use_high_sigma_strategy", "high_sigma_ratio", "high_sigma_timesteps_min",
                            "high_sigma_timesteps_max", "conditional_frame_timestep",
                            "denoise_replace_gt_frames", "data_type", "use_video_condition", "precision"});
  const flow::DenoiseConfig config = denoise_config(c);
  flow::FlowBatch batch{
      .x0 = c.input("x0", device), .noise = c.input("epsilon", device), .times = times_of(c)};
  batch.kind = choice<flow::BatchKind>(
      c, "data_type", {{"video", flow::BatchKind::video}, {"image", flow::BatchKind::image}});
  if (batch.kind == flow::BatchKind::video)
    batch.num_condition_frames = draw(c, "num_conditional_frames", at::kLong);
  const NamedVariables in = input_variables(c, device, {"net_output"});
  return run_with_derivatives(c, in, {}, [&] {
    const auto net = [&](const flow::DenoiserInput&) { return in.at("net_output"); };
    return outputs_of(flow::flow_loss(config, net, batch), batch.times);
  });
}

NamedTensors run_flow_condition_frames(const Case& c, at::Device) {
  require_known_options(c, {"conditional_frames_probs", "num_frames", "min_num_conditional_frames",
                            "max_num_conditional_frames"});
  flow::FrameLaw law;
  if (c.config.contains("conditional_frames_probs") && !c.config.at("conditional_frames_probs").is_null()) {
    law = {{}, {}};
    const auto& probs = c.config.at("conditional_frames_probs");
    require(probs.is_object(), "config option conditional_frames_probs is not an object");
    for (const auto& [frames, weight] : probs.items()) {
      const bool is_number = !frames.empty() && frames.size() < 10 &&
                             frames.find_first_not_of("0123456789") == std::string::npos &&
                             weight.is_number();
      require(is_number, "config option conditional_frames_probs: ", frames, " : ", weight.dump(),
              ", wanted a number of frames and its weight");
      law.choices.push_back(std::stoll(frames));
      law.weights.push_back(weight.template get<double>());
    }
  } else {
    law = flow::uniform_frames(c.option_or<int64_t>("min_num_conditional_frames", 1),
                               c.option_or<int64_t>("max_num_conditional_frames", 2));
  }
  const int64_t num_frames = c.option<int64_t>("num_frames");
  const at::Tensor counts = flow::num_condition_frames(law, draw(c, "uniform", at::kDouble), num_frames);
  return wanted(c, {{"num_conditional_frames", counts},
                    {"condition_mask", flow::condition_mask(counts, num_frames, c.dtype)}});
}

NamedTensors run_flow_text_dropout(const Case& c, at::Device device) {
  require_known_options(c, {"dropout_rate", "use_empty_string"});
  const at::Tensor empty =
      c.option_or("use_empty_string", false) ? c.input("empty_string_embeddings", device) : at::Tensor();
  return {{"crossattn_emb", flow::drop_text(c.input("crossattn_emb", device), draw(c, "uniform", at::kFloat),
                                            c.option<double>("dropout_rate"), empty)}};
}

}  // namespace orrery
