#include "bench/op_bench.h"

#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <c10/util/Exception.h>

#include <algorithm>

#include "autograd/tape.h"
#include "base/error.h"
#include "base/numerics.h"
#include "bench/device_rates.h"
#include "bench/label_times.h"
#include "bench/op_cases.h"
#include "infer/world_model.h"
#include "optim/adamw.h"
#include "optim/ema.h"
#include "optim/grad_clip.h"
#include "parallel/copy_each.h"

namespace orrery {
namespace {

constexpr int64_t kWarmUp = 3;

// Weights that are many for a device: tensors of `weight` elements.
struct Large {
  int64_t weights, weight;
};
Large large_on(at::Device device) {
  return device.is_cpu() ? Large{4, int64_t{1} << 16} : Large{16, int64_t{1} << 24};
}

class Bench {
 public:
  Bench(const Config& config, const OpBenchOptions& options)
      : options_(options),
        device_(device_of(config.numerics, 0)),
        large_(large_on(device_)),
        timer_(device_, scalar_type(config.numerics.dtype)),
        rates_(measure_rates(timer_, options.repeats)) {
    out_.matmul_size = rates_.matmul_size;
    out_.matmul_tflops = rates_.matmul_tflops;
    out_.copy_gb_per_s = rates_.copy_gb_per_s;
  }

  void add(const OpCase& c) {
    if (!is_wanted(c.name)) return;
    try {
      measure(c);
    } catch (const c10::OutOfMemoryError&) {
      OpFigure failed{.name = c.name, .phase = "both"};
      failed.failure = "does not fit into the device's memory";
      out_.figures.push_back(failed);
    }
  }

  // Something that is no op of the tape; bytes: that it must read and write.
  void add(const std::string& name, double bytes, const std::function<void()>& run) {
    if (!is_wanted(name)) return;
    add_figure({.name = name, .phase = "update", .ms = timer_.ms_of(run, options_.repeats), .bytes = bytes});
  }

  // What a step does to the weights after backward, and what FSDP moves them with.
  void add_updates(const Config& config) {
    std::vector<NamedTensor> weights, grads;
    Tensors tensors;
    for (int64_t i = 0; i < large_.weights; ++i) {
      weights.push_back({text_of("w", i), random({large_.weight}, at::kFloat)});
      grads.push_back({weights.back().name, random({large_.weight}, at::kFloat)});
      tensors.push_back(grads.back().tensor);
    }
    const auto elements = static_cast<double>(large_.weights * large_.weight);
    GradClip norm({.max_norm = 0, .norm_type = 2, .nonfinite = NonFinite::skip});
    add("norm of gradients", 4 * elements, [&] { norm(grads); });
    add_optimizer(config, weights, tensors, "float32", 28 * elements);
    add_packing(tensors, 6 * elements);
    for (NamedTensor& weight : weights) weight.tensor = weight.tensor.to(at::kBFloat16);
    add_optimizer(config, weights, tensors, "bfloat16 with masters", 30 * elements);
  }

  OpBench take() { return std::move(out_); }

 private:
  void add_optimizer(const Config& config, const std::vector<NamedTensor>& weights, const Tensors& grads,
                     const std::string& type, double bytes) {
    AdamWConfig settings = adamw_config(config.optim);
    settings.master_weights = true;
    AdamW adamw(settings, weights);
    add("adamw, " + type, bytes, [&] { adamw.step(grads, 1e-6); });
    if (config.optim.ema == Ema::none) return;
    AveragedWeights averages(ema_config(config.optim), weights);
    int64_t step = 1;
    const double of_average = 8.0 * static_cast<double>(large_.weights * large_.weight);
    add("averages, " + type, of_average + static_cast<double>(weights.size() * weights[0].tensor.nbytes()),
        [&] { averages.update(step++); });
    add("adamw with scale and averages, " + type, bytes + of_average, [&] {
      averages.finish(adamw.step(grads, {.lr = 1e-6, .grad_scale = 0.5, .averages = averages.due(step++)}));
    });
  }

  // FSDP's rows of float32 weights to a piece of bfloat16, and gradients back.
  void add_packing(const Tensors& rows, double bytes) {
    const at::Tensor piece = random({large_.weights * large_.weight}, at::kBFloat16);
    TensorPairs pack, unpack;
    for (size_t i = 0; i < rows.size(); ++i) {
      const at::Tensor part = piece.narrow(0, static_cast<int64_t>(i) * large_.weight, large_.weight);
      pack.add(part, rows[i]);
      unpack.add(rows[i], part);
    }
    add("packing of float32 rows in bfloat16", bytes, [&] { copy_each(pack); });
    add("unpacking of bfloat16 in float32 rows", bytes, [&] { copy_each(unpack); });
  }

  at::Tensor random(at::IntArrayRef shape, at::ScalarType dtype) const {
    return at::randn(shape, at::TensorOptions(device_).dtype(dtype));
  }
  bool is_wanted(const std::string& name) const { return name.find(options_.filter) != std::string::npos; }

  void measure(const OpCase& c) {
    Variables inputs;
    for (const OpCase::Input& in : c.inputs) inputs.emplace_back(random(in.shape, in.dtype), in.needs_grad);
    at::Tensor cotangent;
    const auto run = [&] {
      Recording recording;
      const Variable y = c.call(inputs);
      if (!cotangent.defined()) cotangent = at::randn_like(y.value());
      recording.backward({{y, cotangent}});
      for (const Variable& in : inputs) in.clear_grad();
    };
    for (int64_t i = 0; i < kWarmUp; ++i) run();
    LabelTimes times(device_);
    const Observing observing(times);
    times.begin("rest");
    timer_.keep_busy();
    for (int64_t i = 0; i < options_.repeats; ++i) run();
    times.end();
    for (const char* phase : {"forward", "backward"}) {
      OpFigure figure{.name = c.name, .phase = phase};
      for (const TimeRow& row : times.rows(options_.repeats))
        if (row.phase == phase) {
          figure.ms += row.ms;
          figure.flops += row.flops;
          figure.bytes += row.bytes;
        }
      add_figure(figure);
    }
  }

  void add_figure(OpFigure figure) {
    figure.floor_ms = rates_.floor_ms(figure.flops, figure.bytes);
    out_.figures.push_back(std::move(figure));
  }

  const OpBenchOptions& options_;
  const at::Device device_;
  const Large large_;
  const CallTimer timer_;
  const DeviceRates rates_;
  OpBench out_;
};

}  // namespace

OpBench bench_ops(const Config& config, const OpBenchOptions& options) {
  require(options.repeats > 0, "bench: ", options.repeats, " repeats, wanted at least 1");
  choose_kernels(config.numerics);
  Bench bench(config, options);
  for (const OpCase& c : op_cases(config)) bench.add(c);
  bench.add_updates(config);
  OpBench out = bench.take();
  require(!out.figures.empty(), "bench: no operation's name contains \"", options.filter, "\"");
  return out;
}

}  // namespace orrery
