#include "bench/film_bench.h"

#include "base/error.h"
#include "base/numerics.h"
#include "base/progress.h"
#include "base/rng.h"
#include "bench/random_batch.h"
#include "bench/step_times.h"
#include "flow/generate.h"
#include "infer/branch_parallel.h"
#include "infer/context_denoiser.h"
#include "infer/world_model.h"
#include "parallel/context_split.h"
#include "train/device_mesh.h"

namespace orrery {
namespace {

// All ranks share the film: `branches` groups of them, each in context parallel.
ParallelConfig mesh_settings(const Config& config, const World& world, int64_t branches) {
  require(world.size() % branches == 0, "bench film: ", world.size(), " ranks for ", branches,
          " branches of the guidance, wanted as many for each");
  ParallelConfig parallel = config.parallel;
  parallel.replicate = 1;
  parallel.shard = branches;
  parallel.context = world.size() / branches;
  if (parallel.context > 1)  // for its Error, which says what would divide
    frame_split(1 + (config.data.frames - 1) / 4, dit_config(config).num_heads, parallel.context);
  return parallel;
}

// Times the sampler's steps one by one: those of the warm-up, the timed ones, and the last one observed.
class StepClock {
 public:
  StepClock(World& world, at::Device device, const FilmBenchOptions& options)
      : world_(world),
        device_(device),
        warm_up_(options.warm_up),
        last_(warm_up_ + options.steps),
        times_(device) {}
  int64_t steps() const { return last_ + 1; }

  void begin() {
    wait_for_device(device_);
    world_.comm().barrier("begin of a step").wait();
    begin_s_ = steady_seconds();
    if (done_ != last_) return;
    ops_.emplace(times_);
    waits_.emplace(times_);
    times_.begin("sampler and guidance");
  }
  void end() {
    if (done_ == last_) {
      times_.end();
      waits_.reset();
      ops_.reset();
    }
    wait_for_device(device_);
    ms_.push_back(1e3 * (steady_seconds() - begin_s_));
    if (++done_ <= last_) begin();
  }
  // Collective.
  void tell(FilmBench& out) const {
    require(done_ == steps(), "bench film: the sampler took ", done_, " steps, wanted ", steps());
    out.profiled_ms = ms_.back();
    out.rows = times_.rows(1);
    out.step_ms = largest_of_ranks(world_.comm(), {ms_.begin() + warm_up_, ms_.end() - 1});
  }

 private:
  World& world_;
  const at::Device device_;
  const int64_t warm_up_, last_;
  LabelTimes times_;
  std::optional<Observing> ops_;
  std::optional<ObservingWaits> waits_;
  std::vector<double> ms_;
  int64_t done_ = 0;
  double begin_s_ = 0;
};

class Run {
 public:
  Run(const Config& config, World& world, const FilmBenchOptions& options)
      : config_(config),
        options_(options),
        world_(world),
        device_(device_of(config.numerics, world.local_rank())),
        device_comm_(device_comm(config.numerics, world)),
        mesh_(make_mesh(mesh_settings(config, world, options.branches), world, device_comm_.get())),
        net_(dit_config(config)) {
    net_.materialize(device_, scalar_type(config.numerics.dtype));
    net_.set_needs_grad(false);
    fill_weights(net_, 1);
    denoiser_ = context_denoiser(net_, mesh_.context(), config.parallel.head_groups, TextForm::projected);
  }

  FilmBench measure() {
    FilmBench out{
        .config = config_, .options = options_, .ranks = world_.size(), .context = mesh_.shape().context};
    StepClock clock(world_, device_, options_);
    flow::GenerateConfig c = flow::generate_config(config_.sample, config_.flow, net_.dtype());
    c.steps = clock.steps();                    // other noise levels than a film's change no time
    if (c.sigmas == Sigmas::karras) --c.steps;  // they take one more
    const flow::GenerateInput in = input();
    clock.begin();
    flow::generate_latent(c, denoiser_, in, [&](const auto&, const auto&) { clock.end(); });
    clock.tell(out);
    return out;
  }

 private:
  flow::GenerateInput input() const {
    const auto normal = [&](std::string_view name, const Shape& shape, at::ScalarType type) {
      return Rng(1, name).normal_tensor(shape).to(device_, type);
    };
    const at::ScalarType exact = net_.dtype() == at::kDouble ? at::kDouble : at::kFloat;
    const Shape latent = latent_shape(config_, 1);
    const Shape text = {1, text_tokens(config_), net_.config.crossattn_emb_channels};
    flow::GenerateInput in;
    in.noise = normal("bench film noise", latent, exact);
    in.x0 = normal("bench film x0", latent, exact);
    in.text = normal("bench film text", text, net_.dtype());
    in.negative_text = normal("bench film negative text", text, net_.dtype());
    in.kind = config_.data.frames == 1 ? flow::BatchKind::image : flow::BatchKind::video;
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
  flow::Denoiser denoiser_;
};

}  // namespace

double FilmBench::median_ms() const {
  return median_of(step_ms);
}

double FilmBench::flops() const {
  return total_flops(rows);
}

FilmBench bench_film(const Config& config, World& world, const FilmBenchOptions& options) {
  require(options.steps > 0 && options.warm_up >= 0, "bench film: ", options.steps, " timed steps after ",
          options.warm_up, ", wanted at least 1 after at least 0");
  require(options.branches == 1 || options.branches == 2, "bench film: ", options.branches,
          " branches, wanted 1 (one after the other) or 2 (at once)");
  const ParallelConfig &parallel = config.parallel, plain;
  require(parallel.replicate == plain.replicate && parallel.shard == plain.shard &&
              parallel.context == plain.context,
          "bench film: parallel.replicate, shard and context are not to be set: all ranks make one film, in "
          "--branches groups");
  require(options.branches == 1 || config.sample.guidance != 0 || config.sample.formula != Guidance::v2w,
          "bench film: sample.guidance = 0 has one branch, so a second group of ranks has nothing to do");
  choose_kernels(config.numerics);
  const c10::InferenceMode inference;
  return Run(config, world, options).measure();
}

}  // namespace orrery
