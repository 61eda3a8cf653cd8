#include "plan/film_plan.h"

#include <ATen/ops/empty.h>

#include <array>
#include <cstdio>

#include "autograd/tape.h"
#include "infer/context_denoiser.h"
#include "plan/cost.h"
#include "plan/planned_rank.h"

namespace orrery {
namespace {

constexpr double kGiB = 1 << 30;

// Of a whole clip, with the text projected beforehand.
flow::DenoiserInput meta_input(const Config& config, const FilmWork& work, const DiT& net) {
  Config c = config;
  c.data.height = work.height;
  c.data.width = work.width;
  const LatentShape l = latent_shape(c);
  const auto options = at::device(at::kMeta).dtype(net.dtype());
  const bool is_video = l.frames > 1, by_frame = is_video && config.flow.condition_timestep >= 0;
  flow::DenoiserInput in;
  in.kind = is_video ? flow::BatchKind::video : flow::BatchKind::image;
  in.x = Variable(at::empty({1, l.channels, l.frames, l.height, l.width}, options));
  in.timesteps = Variable(at::empty({1, by_frame ? l.frames : 1}, options.dtype(at::kFloat)));
  in.apart_from_text =
      std::make_shared<char>();  // what guidance's second branch takes over is held meanwhile
  if (is_video) in.condition_mask = at::empty({1, 1, l.frames, l.height, l.width}, options);
  in.text = at::empty({1, text_tokens(config), net.config.crossattn_emb_channels}, options);
  return in;
}

std::string gib(double bytes) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f", bytes / kGiB);
  return text.data();
}

}  // namespace

FilmPlan plan_film(const Config& config, const FilmWork& work, const Ceilings& ceilings) {
  PlanClock clock;
  PlannedNetwork network(clock, ceilings.links(), nodes_of(work.context, ceilings));
  const Mesh mesh = network.mesh(0, {.context = static_cast<int>(work.context)});
  DiT net(dit_config(config));
  net.materialize(at::kMeta, scalar_type(config.numerics.dtype));
  MemoryMeter meter(at::kMeta);
  OpCost cost(ceilings, clock, meter, config.numerics.deterministic);
  {
    const NoRecording guard;
    const Observing observing(cost);
    const MemoryTag tag(MemoryUse::activations);
    context_denoiser(net, mesh.context(), config.parallel.head_groups,
                     TextForm::projected)(meta_input(config, work, net));
  }
  FilmPlan plan;
  for (const Parameter* p : net.parameters()) plan.weights += static_cast<double>(p->value().nbytes());
  const MemoryUsage peak = meter.peak();
  plan.exchanges = static_cast<double>(peak[MemoryUse::communication]);
  plan.activations = static_cast<double>(peak.total()) - plan.exchanges;
  plan.reserved = kGiB * ceilings.reserved_gib;
  plan.fragmentation = ceilings.fragmentation * (plan.weights + plan.activations + plan.exchanges);
  plan.limit = kGiB * (config.memory.limit_gib > 0 ? config.memory.limit_gib : ceilings.memory_gib);
  // Of two branches the second has one attention less, of all the blocks': too long by that.
  plan.denoise_s = clock.now() * static_cast<double>(work.evaluations);
  return plan;
}

std::string one_line(const FilmPlan& plan) {
  std::array<char, 32> seconds{};
  std::snprintf(seconds.data(), seconds.size(), plan.denoise_s < 10 ? "%.2g s" : "%.0f s", plan.denoise_s);
  return gib(plan.total()) + " of " + gib(plan.limit) + " GiB a rank (weights " + gib(plan.weights) +
         ", activations " + gib(plan.activations + plan.exchanges) + "), " + seconds.data() +
         " of denoising a film; the tokenizer's share comes on top";
}

}  // namespace orrery
