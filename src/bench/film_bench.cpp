#include "bench/film_bench.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>

#include <algorithm>

#include "base/error.h"
#include "base/numerics.h"
#include "base/progress.h"
#include "flow/generate.h"
#include "infer/branch_parallel.h"
#include "infer/context_denoiser.h"
#include "infer/world_model.h"
#include "parallel/context_split.h"
#include "train/device_mesh.h"

namespace orrery {
namespace {

class Run {
 public:
  Run(const Config& config, World& world, const FilmBenchOptions& options)
      : config_(config),
        options_(options),
        world_(world),
        device_(device_of(config.numerics, world.local_rank())),
        device_comm_(device_comm(config.numerics, world)),
        mesh_(make_mesh(mesh_settings(config, world, options), world, device_comm_.get())),
        net_(dit_config(config)),
        denoiser_((fill(), context_denoiser(net_, mesh_.context(), config.parallel.head_groups,
                                            TextForm::projected))) {}

  FilmBench measure() {
    FilmBench out{
        .config = config_, .options = options_, .ranks = world_.size(), .context = mesh_.shape().context};
    flow::GenerateConfig c = flow::generate_config(config_.sample, config_.flow, net_.dtype());
    c.steps = options_.warm_up + options_.steps + 1;  // other noise levels than a film's change no time
    if (c.sigmas == Sigmas::karras) --c.steps;        // they take one more
    LabelTimes times(device_);
    std::optional<Observing> ops;
    std::optional<ObservingWaits> waits;
    int64_t done = 0;
    double begin = 0;
    const auto start = [&] {
      wait_for_device(device_);
      world_.comm().barrier("begin of a step").wait();
      begin = steady_seconds();
      if (done < options_.warm_up + options_.steps) return;
      ops.emplace(times);
      waits.emplace(times);
      times.begin("sampler and guidance");
    };
    const auto end = [&](const flow::SamplerStep&, const at::Tensor&) {
      const bool is_last = done == options_.warm_up + options_.steps;
      if (is_last) times.end();
      wait_for_device(device_);
      const double ms = 1e3 * (steady_seconds() - begin);
      if (is_last)
        out.profiled_ms = ms;
      else if (done >= options_.warm_up)
        out.step_ms.push_back(ms);
      ++done;
      if (done <= options_.warm_up + options_.steps) start();
    };
    const flow::GenerateInput in = input();
    start();
    flow::generate_latent(c, denoiser_, in, end);
    out.rows = times.rows(1);
    const at::Tensor slowest = at::empty({options_.steps}, at::kDouble);
    std::copy(out.step_ms.begin(), out.step_ms.end(), slowest.mutable_data_ptr<double>());
    world_.comm().all_reduce(slowest, ReduceOp::max, "benchmark").wait();
    const double* const ms = slowest.const_data_ptr<double>();
    out.step_ms.assign(ms, ms + options_.steps);
    return out;
  }

 private:
  static ParallelConfig mesh_settings(const Config& config, const World& world,
                                      const FilmBenchOptions& options) {
    const auto branches = static_cast<int>(options.branches);
    require(world.size() % branches == 0, "bench film: ", world.size(), " ranks for ", branches,
            " branches of the guidance, wanted as many for each");
    ParallelConfig parallel = config.parallel;
    parallel.replicate = 1;
    parallel.shard = branches;
    parallel.context = world.size() / branches;
    if (parallel.context > 1)
      frame_split(1 + (config.data.frames - 1) / 4, dit_config(config).num_heads, parallel.context);
    return parallel;
  }

  // As bench train does: trained weights are neither 0 nor of one size either.
  void fill() {
    net_.materialize(device_, scalar_type(config_.numerics.dtype));
    net_.set_needs_grad(false);
    for (Parameter* p : net_.parameters()) {
      at::Tensor values = p->value();
      if (values.dim() > 1)
        values.normal_(0, 0.02);
      else
        values.fill_(1);
    }
  }

  // The same on all ranks, which have their generators at the same seed.
  flow::GenerateInput input() {
    const DataConfig& film = config_.data;
    const auto normal = [&](at::IntArrayRef shape, at::ScalarType type) {
      return at::randn(shape, at::TensorOptions(at::kCPU).dtype(at::kFloat)).to(device_, type);
    };
    const at::ScalarType exact = net_.dtype() == at::kDouble ? at::kDouble : at::kFloat;
    const Shape latent = {1, config_.tokenizer.channels, 1 + (film.frames - 1) / 4, film.height / 8,
                          film.width / 8};
    const Shape text = {1, text_tokens(config_), net_.config.crossattn_emb_channels};
    flow::GenerateInput in;
    in.noise = normal(latent, exact);
    in.x0 = normal(latent, exact);
    in.text = normal(text, net_.dtype());
    in.negative_text = normal(text, net_.dtype());
    in.kind = film.frames == 1 ? flow::BatchKind::image : flow::BatchKind::video;
    in.branches = branches_over(mesh_.shard());
    return in;
  }

  const Config& config_;
  const FilmBenchOptions& options_;
  World& world_;
  const at::Device device_;
  const std::unique_ptr<Comm> device_comm_;
  const Mesh mesh_;
  DiT net_;
  const flow::Denoiser denoiser_;
};

}  // namespace

double FilmBench::median_ms() const {
  std::vector<double> sorted = step_ms;
  std::sort(sorted.begin(), sorted.end());
  return sorted[sorted.size() / 2];
}

double FilmBench::flops() const {
  double sum = 0;
  for (const TimeRow& row : rows) sum += row.flops;
  return sum;
}

FilmBench bench_film(const Config& config, World& world, const FilmBenchOptions& options) {
  require(options.steps > 0 && options.warm_up >= 0, "bench film: ", options.steps, " timed steps after ",
          options.warm_up, ", wanted at least 1 after at least 0");
  require(options.branches == 1 || options.branches == 2, "bench film: ", options.branches,
          " branches, wanted 1 (one after the other) or 2 (at once)");
  choose_kernels(config.numerics);
  const c10::InferenceMode inference;
  return Run(config, world, options).measure();
}

}  // namespace orrery
