#include "bench/train_bench.h"

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>

#include "base/error.h"
#include "base/numerics.h"
#include "base/progress.h"
#include "bench/random_batch.h"
#include "bench/step_times.h"
#include "infer/world_model.h"
#include "model/no_films.h"
#include "train/device_mesh.h"
#include "train/memory_log.h"
#include "train/recompute.h"
#include "train/step.h"

namespace orrery {
namespace {

constexpr double kMiB = 1 << 20;

double reserved_mib(at::Device device) {
  auto* const allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(device.type()));
  if (device.is_cpu() || !allocator) return 0;
  return static_cast<double>(allocator->getDeviceStats(device.index()).reserved_bytes[0].peak) / kMiB;
}

class Run {
 public:
  Run(const Config& config, World& world)
      : config_(config),
        world_(world),
        memory_(config, world),
        device_(device_of(config.numerics, world.local_rank())),
        device_comm_(device_comm(config.numerics, world)),
        mesh_(make_mesh(config.parallel, world, device_comm_.get())),
        net_(dit_config(config)),
        model_(parallelize_dit(net_, mesh_, config, device_)),
        step_(config, net_, model_, mesh_, tokenizer_, text_) {
    fill_weights(*model_.fsdp, static_cast<uint64_t>(config.train.seed), world.rank());
    batch_ = random_batch(config, mesh_, device_);
  }

  TrainBench measure(const BenchOptions& options) {
    TrainBench out{.config = config_, .mesh = mesh_.shape()};
    if (config_.memory.policy == MemoryPolicy::automatic) {
      out.recompute = attach_auto_recompute(net_, world_.comm(), block_shape(config_, mesh_),
                                            options.activation_budget_bytes);
      model_.fsdp->release();
    }
    for (int64_t i = 0; i < options.warm_up; ++i) one_step();
    memory_.exchange(done_);  // begins the peaks anew
    const double reserved = reserved_mib(device_);
    for (int64_t i = 0; i < options.steps; ++i) out.step_ms.push_back(one_step());
    const std::vector<double> held =
        largest_of_ranks(world_.comm(), {reserved_mib(device_), reserved_mib(device_) - reserved});
    out.memory = memory_.exchange(done_);
    out.reserved_mib = held[0];
    out.reserved_growth_mib = held[1];
    out.step_ms = largest_of_ranks(world_.comm(), out.step_ms);
    out.loss = loss_;
    if (options.profiled > 0) profile(options.profiled, out);
    if (config_.numerics.tune) out.products = kernels::cuda::products();
    return out;
  }

 private:
  // Milliseconds of the host's clock.
  double one_step() {
    world_.set_step(done_);
    wait_for_device(device_);
    world_.comm().barrier("begin of a step").wait();
    const double begin = steady_seconds();
    loss_ = step_.on_drawn(batch_, config_.train.batch, done_++).loss;
    wait_for_device(device_);
    return 1e3 * (steady_seconds() - begin);
  }

  void profile(int64_t steps, TrainBench& out) {
    LabelTimes times(device_);
    const Observing ops(times);
    const ObservingWaits waits(times);
    step_.before_clip = [&] { times.section("norm and clip of gradients, loss"); };
    step_.before_update = [&] { times.section("update of weights and averages"); };
    for (int64_t i = 0; i < steps; ++i) {
      world_.set_step(done_);
      wait_for_device(device_);
      world_.comm().barrier("begin of a step").wait();
      const double begin = steady_seconds();
      times.begin("before the first op");
      step_.on_drawn(batch_, config_.train.batch, done_++);
      times.end();
      out.profiled_ms += 1e3 * (steady_seconds() - begin) / static_cast<double>(steps);
    }
    out.rows = times.rows(steps);
    step_.before_clip = step_.before_update = [] {};
  }

  const Config& config_;
  World& world_;
  MemoryLog memory_;  // sees what is allocated from here on
  const at::Device device_;
  const std::unique_ptr<Comm> device_comm_;
  const Mesh mesh_;
  const NoTokenizer tokenizer_;
  const NoText text_;
  DiT net_;
  ParallelDiT model_;
  TrainStep step_;
  flow::FlowBatch batch_;
  double loss_ = 0;
  int64_t done_ = 0;
};

}  // namespace

double TrainBench::median_ms() const {
  return median_of(step_ms);
}

int64_t tokens_of_clip(const Config& c) {
  const int64_t side = 8 * dit_config(c).patch_spatial;
  return (1 + (c.data.frames - 1) / 4) * (c.data.height / side) * (c.data.width / side);
}

double model_flops(const Config& config) {
  const DiTConfig net = dit_config(config);
  const auto S = static_cast<double>(tokens_of_clip(config)), d = static_cast<double>(net.model_channels),
             N = static_cast<double>(text_tokens(config)), blocks = static_cast<double>(net.num_blocks);
  const double token = (12 + 4 * net.mlp_ratio) * d * d + 4 * S * d + 4 * N * d;
  return 3 * blocks * token * S * static_cast<double>(config.train.batch);
}

TrainBench bench_train(const Config& config, World& world, const BenchOptions& options) {
  require(options.steps > 0, "bench: ", options.steps, " timed steps, wanted at least 1");
  require(
      options.warm_up > 0 || !config.numerics.tune || config.numerics.device == Device::cpu,
      "bench: no step of warm-up, wanted at least 1 with numerics.tune: the first step tries kernels out");
  choose_kernels(config.numerics);
  return Run(config, world).measure(options);
}

}  // namespace orrery
