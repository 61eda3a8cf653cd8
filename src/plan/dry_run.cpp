#include "plan/dry_run.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "autograd/tape.h"
#include "base/error.h"
#include "infer/world_model.h"
#include "plan/cost.h"
#include "train/step.h"

namespace orrery {
namespace {

constexpr double kGiB = 1 << 30;

// A dry run encodes nothing.
class NoTokenizer final : public VideoTokenizer {
 public:
  at::Tensor encode(const at::Tensor&) const override { fail("plan: a dry run has no films"); }
  at::Tensor decode(const at::Tensor&) const override { fail("plan: a dry run has no films"); }
  int64_t channels() const override { return 0; }
  int64_t temporal_factor() const override { return 4; }
  int64_t spatial_factor() const override { return 8; }
};
class NoText final : public TextEncoder {
 public:
  at::Tensor encode(const std::vector<std::string>&) const override {
    fail("plan: a dry run has no prompts");
  }
  int64_t tokens() const override { return 0; }
  int64_t channels() const override { return 0; }
};

struct LatentShape {
  int64_t channels, frames, height, width;
};
LatentShape latent_shape(const Config& c) {
  return {c.tokenizer.channels, 1 + (c.data.frames - 1) / 4, c.data.height / 8, c.data.width / 8};
}

int64_t clips_of(const Config& config, const Mesh& mesh) {
  const int64_t groups = mesh.data().size();
  require(config.train.batch % groups == 0, "train.batch = ", config.train.batch, " does not divide among ",
          groups, " groups of ranks with clips of their own (parallel.replicate x shard)");
  return config.train.batch / groups;
}

flow::FlowBatch meta_batch(const Config& config, const DiTConfig& net, int64_t clips) {
  const auto exact =
      at::device(at::kMeta).dtype(config.numerics.dtype == Dtype::float64 ? at::kDouble : at::kFloat);
  const LatentShape l = latent_shape(config);
  flow::FlowBatch batch;
  batch.kind = l.frames > 1 ? flow::BatchKind::video : flow::BatchKind::image;
  batch.x0 = at::empty({clips, l.channels, l.frames, l.height, l.width}, exact);
  batch.noise = at::empty(batch.x0.sizes(), exact);
  const auto times = at::device(at::kMeta).dtype(at::kFloat);
  batch.times = {at::empty({clips}, times), at::empty({clips, 1}, times), at::empty({clips, 1}, times)};
  if (batch.kind == flow::BatchKind::video) batch.num_condition_frames = at::zeros({clips}, at::kLong);
  batch.text = at::empty({clips, text_tokens(config), net.text_channels()},
                         exact.dtype(scalar_type(config.numerics.dtype)));
  return batch;
}

double bytes_of(const std::vector<NamedTensor>& tensors) {
  double sum = 0;
  for (const NamedTensor& t : tensors) sum += static_cast<double>(t.tensor.nbytes());
  return sum;
}

// The update reads gradients (once more for their norm, and once read and written to scale them) and reads
// and writes weights, state and averages.
double update_bytes(Fsdp& fsdp, TrainStep& step) {
  double weights = 0;
  for (const ShardView& w : fsdp.weights()) weights += static_cast<double>(w.local.nbytes());
  double bytes = 4 * weights + 2 * weights + 2 * bytes_of(step.optimizer().state());
  if (step.averaged()) bytes += weights + 2 * bytes_of(step.averaged()->averages());
  return bytes;
}

void add_traffic(std::vector<PlannedTraffic>& traffic, const PlannedCollective& c, double times) {
  const std::string what(name_of(c.kind));
  auto row = std::find_if(traffic.begin(), traffic.end(),
                          [&](const auto& t) { return t.what == what && t.group == c.group; });
  if (row == traffic.end()) row = traffic.insert(traffic.end(), {what, c.group, c.ranks, c.nodes});
  row->calls += times;
  row->bytes += times * static_cast<double>(c.bytes);
  row->seconds += times * c.seconds;
}

struct MicroBatches {
  int64_t clips, count;
};
MicroBatches micro_batches(const Config& config, int64_t clips) {
  const int64_t size = config.train.micro_batch > 0 ? std::min(config.train.micro_batch, clips) : clips;
  return {size, (clips + size - 1) / size};
}

// What happened up to a moment of the step.
struct Moment {
  double now = 0, waited = 0;
  OpCost::Tally tally;
  size_t collectives = 0;
};

// Adds it to the report, so many times: micro-batches between the first and the last are like the first.
void count(PlanReport& r, const Moment& m, const std::vector<PlannedCollective>& collectives, double times) {
  r.step_s += times * m.now;
  r.exposed_s += times * m.waited;
  r.forward_s += times * m.tally.forward_s;
  r.recompute_s += times * m.tally.recompute_s;
  r.backward_s += times * m.tally.backward_s;
  r.counted_clip_flops += times * m.tally.forward_flops;
  for (size_t i = 0; i < m.collectives; ++i) add_traffic(r.traffic, collectives[i], times);
}

// Weights and gradients are packed before and unpacked behind their collectives: read and written twice.
double copied_bytes(const std::vector<PlannedTraffic>& traffic) {
  double bytes = 0;
  for (const PlannedTraffic& t : traffic)
    if (t.what == "all_gather" || t.what == "reduce_scatter") bytes += 2 * t.bytes;
  return bytes;
}

// One rank of a plan: the network on its mesh, and what its step did.
class DryRun {
 public:
  DryRun(const Config& config, const std::vector<int>& node_of, const Ceilings& ceilings)
      : config_(config),
        ceilings_(ceilings),
        network_(clock_, ceilings.links(), node_of),
        mesh_(network_.mesh(
            0, {static_cast<int>(config.parallel.replicate), static_cast<int>(config.parallel.shard),
                static_cast<int>(config.parallel.context)})),
        clips_(clips_of(config, mesh_)),
        micro_(micro_batches(config, clips_)),
        meter_(at::kMeta),
        net_(dit_config(config)),
        model_(parallelize_dit(net_, mesh_, config, at::kMeta)),
        step_(config, net_, model_, mesh_, tokenizer_, text_),
        cost_(ceilings, clock_, meter_) {}

  PlanReport run() {
    Moment first;  // the end of the first micro-batch
    cost_.on_next_micro_batch = [&] { first = moment(); };
    forward_backward();
    const std::vector<at::Tensor> gradients = model_.fsdp->take_gradients();
    const Moment last = moment();
    make_workspace_of_update(gradients);
    PlanReport report;
    report.config = config_;
    report.mesh = mesh_.shape();
    report.clips = clips_;
    report.memory = meter_.peak();
    for (const auto& [label, bytes] : cost_.tally().kept_bytes)
      report.kept[label] = static_cast<double>(bytes);
    count(report, last, network_.collectives(), 1);
    if (micro_.count > 2) count(report, first, network_.collectives(), static_cast<double>(micro_.count - 2));
    report.update_s = update_bytes(*model_.fsdp, step_) / (1e9 * ceilings_.memory_gb_per_s);
    report.copy_s = copied_bytes(report.traffic) / (1e9 * ceilings_.memory_gb_per_s);
    report.step_s += report.update_s + report.copy_s;
    report.counted_clip_flops *= mesh_.shape().context / static_cast<double>(micro_.clips * micro_.count);
    return report;
  }

 private:
  Moment moment() const {
    return {clock_.now(), clock_.waited(), cost_.tally(), network_.collectives().size()};
  }

  void forward_backward() {
    const Observing observing(cost_);
    const MemoryTag tag(MemoryUse::activations);
    const int64_t clips = micro_.clips * std::min<int64_t>(2, micro_.count);
    const at::Tensor loss = step_.forward_backward(meta_batch(config_, net_.config, clips));
    mesh_.along({Axis::replicate, Axis::shard, Axis::context})
        .all_reduce(loss, ReduceOp::mean, "loss")
        .wait();
  }

  // What GradClip and AdamW take beside what they are given.
  void make_workspace_of_update(const std::vector<at::Tensor>& gradients) {
    constexpr int64_t kFused = int64_t{1} << 26;  // elements that AdamW updates together on a GPU
    int64_t largest = 0, all = 0;
    for (const at::Tensor& g : gradients) {
      if (!g.defined()) continue;
      largest = std::max(largest, g.numel());
      all += g.numel();
    }
    const MemoryTag tag(MemoryUse::workspace);
    if (ceilings_.device == Device::cpu)  // a norm in float64 is of a copy
      at::empty({largest}, at::device(at::kMeta).dtype(at::kDouble));
    else  // roots of the second moments
      at::empty({std::min(all, kFused + largest)}, at::device(at::kMeta).dtype(at::kFloat));
  }

  const Config& config_;
  const Ceilings& ceilings_;
  PlanClock clock_;
  PlannedNetwork network_;
  const Mesh mesh_;
  const int64_t clips_;
  const MicroBatches micro_;
  MemoryMeter meter_;
  DiT net_;
  ParallelDiT model_;
  const NoTokenizer tokenizer_;
  const NoText text_;
  TrainStep step_;
  OpCost cost_;
};

}  // namespace

void finish(PlanReport& r, const Ceilings& ceilings) {
  r.reserved = kGiB * ceilings.reserved_gib;
  r.fragmentation = ceilings.fragmentation * static_cast<double>(r.memory.total());
  r.limit = kGiB * (r.config.memory.limit_gib > 0 ? r.config.memory.limit_gib : ceilings.memory_gib);
  r.clip_flops = forward_flops(r.config);
  r.clips_per_s = static_cast<double>(r.config.train.batch) / r.step_s;
  r.mfu = 3 * r.clip_flops * r.clips_per_s / (r.mesh.size() * 1e12 * ceilings.peak_tflops);
}

double PlanReport::total() const {
  return static_cast<double>(memory.total()) + reserved + fragmentation;
}

std::vector<int> nodes_of(int64_t ranks, const Ceilings& ceilings) {
  std::vector<int> nodes;
  for (int64_t r = 0; r < ranks; ++r)
    nodes.push_back(static_cast<int>(r / static_cast<int64_t>(ceilings.ranks_per_node)));
  return nodes;
}

double forward_flops(const Config& config) {
  const DiTConfig c = dit_config(config);
  const LatentShape l = latent_shape(config);
  const auto D = static_cast<double>(c.model_channels), L = static_cast<double>(c.num_blocks);
  const auto patch = static_cast<double>(c.patch_temporal * c.patch_spatial * c.patch_spatial);
  const double S = static_cast<double>(l.frames * l.height * l.width) / patch;
  const auto N = static_cast<double>(text_tokens(config)), C = static_cast<double>(c.crossattn_emb_channels);
  const double projections = (12 + 4 * c.mlp_ratio) * D * D * S;  // self-attention 4, cross-attention 2, MLP
  const double block = projections + 4 * S * S * D + 4 * S * N * D + 4 * C * D * N;
  const double ends = 2 * patch * static_cast<double>(c.embed_channels() + c.out_channels) * D * S;
  const double text =
      c.use_crossattn_projection ? 2 * static_cast<double>(c.crossattn_proj_in_channels) * C * N : 0;
  return L * block + ends + text;
}

PlanReport dry_run(const Config& config, const std::vector<int>& node_of, const Ceilings& ceilings) {
  PlanReport report = DryRun(config, node_of, ceilings).run();
  finish(report, ceilings);
  return report;
}

}  // namespace orrery
