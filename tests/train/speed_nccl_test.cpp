// Times a training step of 8 blocks of the 2B network on several GPUs, a clip a GPU, and holds its memory
// against what FSDP promises. The times are for docs/performance.md; they decide nothing here.
#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAEvent.h>

#include <cmath>
#include <cstdio>

#include "infer/make_text_encoder.h"
#include "parallel/nccl_fixture.h"
#include "train/mesh_runs.h"

namespace orrery::test {
namespace {

constexpr int64_t kBlocks = 8;
constexpr int64_t kLatentFrames = 4, kLatentSide = 64;
constexpr int kWarmUps = 3, kSteps = 10;

struct Layout {
  MeshShape mesh;
  int64_t prefetch;
  bool reshard;
};

struct Figures {
  double median_ms = 0, least_ms = 0, most_ms = 0;
  int64_t state_bytes = 0, weight_bytes = 0, peak_bytes = 0, unit_bytes = 0;
};

Config config_of(const Layout& layout) {
  Config c;
  c.model.blocks = kBlocks;
  c.data.frames = 1 + 4 * (kLatentFrames - 1);
  c.text.channels = 1024;  // the projection of 100,352 channels would be as large as two blocks
  c.optim.ema = Ema::none;
  c.train.batch = test_world().size();
  c.numerics.dtype = Dtype::bfloat16;
  c.numerics.device = Device::cuda;
  c.parallel.prefetch = layout.prefetch;
  c.parallel.reshard_after_forward = layout.reshard;
  return c;
}

flow::FlowBatch random_clips(const Config& c, int64_t clips, at::Device device) {
  const auto random = [&](at::IntArrayRef shape, at::ScalarType dtype) {
    return at::randn(shape, at::TensorOptions(device).dtype(dtype));
  };
  std::vector<int64_t> samples;
  for (int64_t i = 0; i < clips; ++i) samples.push_back(i);
  const flow::TimeConfig time = flow::time_config(c.flow);
  return {.x0 = random({clips, 16, kLatentFrames, kLatentSide, kLatentSide}, at::kFloat),
          .noise = random({clips, 16, kLatentFrames, kLatentSide, kLatentSide}, at::kFloat),
          .times = flow::times_from_draws(time, flow::draw_times(time, 1, 0, samples)),
          .num_condition_frames = flow::num_condition_frames(
              flow::frame_law(c.flow), flow::draw_condition_frames(1, 0, samples), kLatentFrames),
          .text = random({clips, text_tokens(c), c.text.channels}, at::kBFloat16)};
}

c10::CachingAllocator::Stat allocated(at::Device device) {
  return c10::cuda::CUDACachingAllocator::getDeviceStats(device.index())
      .allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)];
}

}  // namespace

class StepSpeed : public NcclTest {
 protected:
  // Forward, backward, reduction and update; without the drawing of a batch and the clip of gradients.
  static Figures measure(const Layout& layout) {
    const Config config = config_of(layout);
    const Mesh mesh = mesh_of(layout.mesh, nccl());
    DiT net(dit_config(config));
    ParallelDiT model = parallelize_dit(net, mesh, config, device());
    Figures out;
    for (const ShardView& w : model.fsdp->weights()) {
      at::Tensor(w.local).normal_(0, 0.02);
      out.weight_bytes += static_cast<int64_t>(w.local.nbytes());
    }
    const LinearTokenizer tokenizer = scene_tokenizer(config.tokenizer.channels);
    const auto text = make_text_encoder(config, at::kCPU);
    TrainStep step(config, net, model, mesh, tokenizer, *text);
    const flow::FlowBatch batch = random_clips(config, size() / mesh.data().size(), device());
    at::Tensor loss;
    const auto one = [&] {
      loss = step.forward_backward(batch);
      std::vector<at::Tensor> gradients = model.fsdp->take_gradients();
      model.fsdp->release();
      step.optimizer().step(gradients, 1e-5);
    };
    for (int i = 0; i < kWarmUps; ++i) one();
    out.state_bytes = allocated(device()).current;
    c10::cuda::CUDACachingAllocator::resetPeakStats(device().index());
    time(one, out);
    out.peak_bytes = allocated(device()).peak;
    out.unit_bytes = 2 * model.fsdp->largest_unit();
    EXPECT_TRUE(std::isfinite(loss.item<double>()));
    return out;
  }

  static void time(const std::function<void()>& one, Figures& out) {
    std::vector<c10::cuda::CUDAEvent> marks;
    for (int i = 0; i <= kSteps; ++i) marks.emplace_back(cudaEventDefault);
    marks[0].record();
    for (int i = 1; i <= kSteps; ++i) {
      one();
      marks[static_cast<size_t>(i)].record();
    }
    marks.back().synchronize();
    std::vector<double> ms;
    for (size_t i = 1; i < marks.size(); ++i) ms.push_back(marks[i - 1].elapsed_time(marks[i]));
    std::sort(ms.begin(), ms.end());
    out.median_ms = (ms[kSteps / 2 - 1] + ms[kSteps / 2]) / 2;
    out.least_ms = ms.front();
    out.most_ms = ms.back();
  }

  // Measured, printed, and with no more state than float32 shards, their two moments, the batch and cuBLAS's
  // workspace.
  static Figures measured(const Layout& layout) {
    const Figures f = measure(layout);
    EXPECT_GE(f.state_bytes, 3 * f.weight_bytes) << name_of(layout.mesh);
    EXPECT_LE(f.state_bytes, 3 * f.weight_bytes + (int64_t{200} << 20)) << name_of(layout.mesh);
    if (rank() == 0)
      std::printf(
          "speed: %-33s prefetch %lld, %s step %6.1f ms (%.1f to %.1f), state %.2f GiB, peak %.2f GiB\n",
          name_of(layout.mesh).c_str(), static_cast<long long>(layout.prefetch),
          layout.reshard ? "freed," : "kept, ", f.median_ms, f.least_ms, f.most_ms, gib(f.state_bytes),
          gib(f.peak_bytes));
    std::fflush(stdout);
    return f;
  }

  static double gib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); }
};

TEST_F(StepSpeed, of_prefetch_resharding_and_context) {
  const int n = size();
  for (const MeshShape mesh : {MeshShape{1, n, 1}, MeshShape{1, 1, n}}) {
    measured({mesh, 0, true});
    const Figures freed = measured({mesh, 1, true});
    measured({mesh, 2, true});
    const Figures kept = measured({mesh, 1, false});
    const int64_t more = kept.peak_bytes - freed.peak_bytes;
    if (rank() == 0)
      std::printf("speed: kept weights take %.2f GiB more; %lld blocks have %.2f GiB\n", gib(more),
                  static_cast<long long>(kBlocks), gib(kBlocks * kept.unit_bytes));
    EXPECT_GE(more, (kBlocks - 4) * kept.unit_bytes) << name_of(mesh);
    EXPECT_LE(more, kBlocks * kept.unit_bytes) << name_of(mesh);
  }
  measured({{n, 1, 1}, 1, true});
}

}  // namespace orrery::test
