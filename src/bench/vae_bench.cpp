#include "bench/vae_bench.h"

#include <ATen/Context.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <c10/core/CachingDeviceAllocator.h>

#include "autograd/tape.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/numerics.h"
#include "base/progress.h"
#include "bench/step_times.h"
#include "infer/world_model.h"
#include "ops/kernels.h"
#include "parallel/row_exchange.h"
#include "train/device_mesh.h"

namespace orrery {
namespace {

constexpr int64_t kRateRepeats = 10;

std::unique_ptr<WanVae> random_network(int64_t width, at::Device device, at::ScalarType type) {
  auto net = std::make_unique<WanVae>(WanVaeConfig{.dim = width}, WanVaePart::both);
  net->materialize(device, type);
  net->initialize(1);
  net->set_needs_grad(false);
  return net;
}

// Peak bytes of tensors: of all that the allocator gave out on a GPU, of this thread's since its making on
// the CPU.
class PeakBytes {
 public:
  explicit PeakBytes(at::Device device) : device_(device) {
    if (device.is_cpu()) meter_.emplace(c10::DeviceType::CPU);
  }
  void reset() {
    if (meter_) return meter_->reset_peak();
    allocator().resetPeakStats(device_.index());
  }
  int64_t get() const {
    if (meter_) return meter_->peak().total();
    return allocator().getDeviceStats(device_.index()).allocated_bytes[0].peak;
  }

 private:
  c10::DeviceAllocator& allocator() const {
    auto* const found = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(device_.type()));
    require(found != nullptr, "bench: no figures of memory on ", device_);
    return *found;
  }
  at::Device device_;
  std::optional<MemoryMeter> meter_;
};

class Run {
 public:
  Run(const Config& config, World& world, const VaeBenchOptions& options)
      : options_(options),
        world_(world),
        device_(device_of(config.numerics, world.local_rank())),
        windows_{.encode = config.tokenizer.encode_window, .decode = config.tokenizer.decode_window},
        type_(scalar_type(config.tokenizer.dtype)),
        peak_(device_),
        tag_(MemoryUse::activations),
        device_comm_(device_comm(config.numerics, world)),
        exchange_(world.size() > 1 ? row_exchange(device_comm_ ? *device_comm_ : world.comm()) : nullptr) {
    auto net = random_network(config.tokenizer.width, device_, type_);
    net_ = net.get();
    tokenizer_ = std::make_unique<WanTokenizer>(std::move(net), windows_, exchange_);
    const DataConfig& film = config.data;
    const int64_t side = tokenizer_->spatial_factor();
    film_ = at::randint(256, {1, 3, film.frames, film.height, film.width},
                        at::TensorOptions(device_).dtype(at::kByte));
    latents_ = at::randn({1, tokenizer_->channels(), tokenizer_->latent_frames(film.frames),
                          film.height / side, film.width / side},
                         at::TensorOptions(device_).dtype(at::kFloat));
  }

  int64_t weight_bytes() const {
    int64_t bytes = 0;
    for (const Parameter* p : net_->parameters()) bytes += static_cast<int64_t>(p->value().nbytes());
    return bytes;
  }

  VaeFigures encode() {
    return measure([&] { tokenizer_->encode(film_); },
                   [&](FrameCache& cache) {
                     const at::Tensor rows = mine(film_, latents_.size(3), net_->config.spatial_factor());
                     for (const auto [begin, end] : film_parts(rows.size(2), windows_.encode))
                       net_->encode_part(
                           Variable(values_of_pixels(rows.narrow(2, begin, end - begin), type_)), cache);
                   });
  }
  VaeFigures decode() {
    return measure(
        [&] { tokenizer_->decode(latents_); },
        [&](FrameCache& cache) {
          const at::Tensor rows = mine(latents_, latents_.size(3), 1).to(type_);
          for (const auto [begin, end] : film_parts(rows.size(2), windows_.decode))
            pixels_of_values(net_->decode_part(Variable(rows.narrow(2, begin, end - begin)), cache).value());
        });
  }

 private:
  // This rank's rows.
  at::Tensor mine(const at::Tensor& x, int64_t latent_rows, int64_t factor) const {
    if (!exchange_) return x;
    const auto heights = share_rows(exchange_, latent_rows).heights;
    const auto own = heights.begin() + world_.rank();
    return x.narrow(3, std::accumulate(heights.begin(), own, int64_t{0}) * factor, *own * factor);
  }

  double timed(const std::function<void()>& run) {
    wait_for_device(device_);
    world_.comm().barrier("begin of a call").wait();
    const double begin = steady_seconds();
    run();
    wait_for_device(device_);
    return 1e3 * (steady_seconds() - begin);
  }

  VaeFigures measure(const std::function<void()>& call, const std::function<void(FrameCache&)>& by_layers) {
    VaeFigures out;
    for (int64_t i = 0; i < options_.warm_up; ++i) timed(call);
    peak_.reset();
    for (int64_t i = 0; i < options_.repeats; ++i) out.ms.push_back(timed(call));
    out.peak_bytes = peak_.get();
    out.ms = largest_of_ranks(world_.comm(), out.ms);

    LabelTimes times(device_);
    times.keep_numbers();
    const Observing ops(times);
    const ObservingWaits waits(times);
    FrameCache cache(exchange_ ? share_rows(exchange_, latents_.size(3)) : RowShare{});
    out.profiled_ms = timed([&] {
      times.begin("around the network");
      by_layers(cache);
      times.end();
    });
    out.rows = times.rows(1);
    out.remembered_bytes = cache.bytes();
    return out;
  }

  const VaeBenchOptions& options_;
  World& world_;
  const at::Device device_;
  const WanWindows windows_;
  const at::ScalarType type_;
  PeakBytes peak_;
  const MemoryTag tag_;
  const std::unique_ptr<Comm> device_comm_;
  const std::shared_ptr<const RowExchange> exchange_;
  WanVae* net_ = nullptr;  // the tokenizer's
  std::unique_ptr<WanTokenizer> tokenizer_;
  at::Tensor film_, latents_;
};

}  // namespace

double VaeFigures::median_ms() const {
  return median_of(ms);
}

double VaeFigures::flops() const {
  return total_flops(rows);
}

VaeBench bench_vae(const Config& config, World& world, const VaeBenchOptions& options) {
  require(options.repeats > 0, "bench: ", options.repeats, " repeats, wanted at least 1");
  choose_kernels(config.numerics);
  const NoRecording guard;
  VaeBench out{.config = config, .options = options, .ranks = world.size()};
  {
    const CallTimer timer(device_of(config.numerics, world.local_rank()),
                          scalar_type(config.tokenizer.dtype));
    out.rates = measure_rates(timer, kRateRepeats);
  }
  Run run(config, world, options);
  out.weight_bytes = run.weight_bytes();
  out.encode = run.encode();
  out.decode = run.decode();
  const kernels::cuda::FusedConv conv = kernels::cuda::fused_conv();
  out.own = conv.own;
  out.fused = conv.fused;
  out.plain = conv.plain;
  out.refused = conv.refused;
  out.last_refusal = conv.last_refusal;
  out.engines = conv.engines;
  return out;
}

}  // namespace orrery
