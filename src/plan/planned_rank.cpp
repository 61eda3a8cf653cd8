#include "plan/planned_rank.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <deque>

#include "base/error.h"
#include "train/recompute.h"

namespace orrery {
namespace {

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

void add_traffic(std::vector<PlannedTraffic>& traffic, const PlannedCollective& c, double times) {
  const std::string what(name_of(c.kind));
  auto row = std::find_if(traffic.begin(), traffic.end(),
                          [&](const auto& t) { return t.what == what && t.group == c.group; });
  if (row == traffic.end()) row = traffic.insert(traffic.end(), {what, c.group, c.ranks, c.nodes});
  row->calls += times;
  row->bytes += times * static_cast<double>(c.bytes);
  row->seconds += times * c.seconds;
}

// Weights and gradients are packed before and unpacked behind their collectives: read and written twice.
double copied_bytes(const std::vector<PlannedTraffic>& traffic) {
  double bytes = 0;
  for (const PlannedTraffic& t : traffic)
    if (t.what == "all_gather" || t.what == "reduce_scatter") bytes += 2 * t.bytes;
  return bytes;
}

// Planned seconds of the ops that run, by label, in order: alone, as a trace times them, so that what they
// send is waited for.
class Times final : public OpObserver {
 public:
  Times(const OpCost& cost, const PlannedNetwork& network) : cost_(cost), network_(network) {}
  void before(const OpCall&) override { sent_ = network_.collectives().size(); }
  void after(const OpCall& call, const Tensors& out) override {
    double total = cost_.seconds_of(call, out);
    for (size_t i = sent_; i < network_.collectives().size(); ++i) total += network_.collectives()[i].seconds;
    seconds[call.label()].push_back(total);
  }
  std::map<std::string, std::deque<double>> seconds;

 private:
  const OpCost& cost_;
  const PlannedNetwork& network_;
  size_t sent_ = 0;
};

}  // namespace

LatentShape latent_shape(const Config& c) {
  return {c.tokenizer.channels, 1 + (c.data.frames - 1) / 4, c.data.height / 8, c.data.width / 8};
}

PlannedRank::PlannedRank(const Config& config, const std::vector<int>& node_of, const Ceilings& ceilings)
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
      encoders_(config, ceilings),
      step_(config, net_, model_, mesh_, tokenizer_, text_),
      cost_(ceilings, clock_, meter_, config.numerics.deterministic) {}

UnitTrace PlannedRank::trace_block() {
  BlockShape shape = block_shape(config_, mesh_);
  if (config_.flow.condition_timestep >= 0) shape.times = shape.frames;  // a timestep for each frame
  Times times(cost_, network_);
  const Observing observing(times);
  UnitTrace block = orrery::trace_block(net_, shape, 0);
  for (TracedOp& op : block.ops) {
    auto& seconds = times.seconds[block.path + "." + op.label];
    if (seconds.empty()) continue;
    op.seconds = seconds.front();
    seconds.pop_front();
  }
  return block;
}

void PlannedRank::attach(const RecomputeChoice& choice) {
  attach_recompute(net_, choice);
}

PlannedRank::MicroBatches PlannedRank::micro_batches(const Config& config, int64_t clips) {
  const int64_t size = config.train.micro_batch > 0 ? std::min(config.train.micro_batch, clips) : clips;
  return {size, (clips + size - 1) / size};
}

PlanReport PlannedRank::run() {
  Moment first;  // the end of the first micro-batch
  const MemoryUsage encoding =
      encoders_.work_in_steps() ? fullest_in([&] { encoders_.encode(clips_); }) : MemoryUsage{};
  const MemoryUsage sampling = encoders_.work_in_samples()
                                   ? fullest_in([&] { encoders_.sample(mesh_.data().size()); })
                                   : MemoryUsage{};
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
  report.encoding = encoding;
  report.sampling = sampling;
  for (const auto& [label, bytes] : cost_.tally().kept_bytes) report.kept[label] = static_cast<double>(bytes);
  count(report, last, 1);
  if (micro_.count > 2) count(report, first, static_cast<double>(micro_.count - 2));
  report.update_s = update_bytes() / (1e9 * ceilings_.memory_gb_per_s);
  report.copy_s = copied_bytes(report.traffic) / (1e9 * ceilings_.memory_gb_per_s);
  report.step_s += report.update_s + report.copy_s;
  report.counted_clip_flops *= mesh_.shape().context / static_cast<double>(micro_.clips * micro_.count);
  return report;
}

PlannedRank::Moment PlannedRank::moment() const {
  return {clock_.now(), clock_.waited(), cost_.tally(), network_.collectives().size()};
}

// Before or behind the step, on a clock of its own: a step's time is that of training.
MemoryUsage PlannedRank::fullest_in(const std::function<void()>& work) {
  meter_.reset_peak();
  {
    PlanClock clock;
    OpCost cost(ceilings_, clock, meter_, config_.numerics.deterministic);
    const Observing observing(cost);
    const MemoryTag tag(MemoryUse::workspace);
    work();
  }
  const MemoryUsage peak = meter_.peak();
  meter_.reset_peak();
  return peak;
}

void PlannedRank::forward_backward() {
  const Observing observing(cost_);
  const MemoryTag tag(MemoryUse::activations);
  const int64_t clips = micro_.clips * std::min<int64_t>(2, micro_.count);
  const at::Tensor loss = step_.forward_backward(meta_batch(config_, net_.config, clips));
  mesh_.along({Axis::replicate, Axis::shard, Axis::context}).all_reduce(loss, ReduceOp::mean, "loss").wait();
}

// Float32 weights and masters on a GPU: one pass, which takes gradients as they are, scales them and moves
// the averages.
bool PlannedRank::has_fused_update() const {
  const Dtype dtype = config_.numerics.dtype;
  return ceilings_.device != Device::cpu &&
         (dtype == Dtype::float32 || (dtype == Dtype::bfloat16 && config_.optim.master_weights));
}

// What GradClip and AdamW take beside what they are given.
void PlannedRank::make_workspace_of_update(const std::vector<at::Tensor>& gradients) {
  constexpr int64_t kTogether = int64_t{1} << 26;  // elements of AdamW's calls of several weights on a GPU
  int64_t largest = 0, all = 0;
  for (const at::Tensor& g : gradients) {
    if (!g.defined()) continue;
    largest = std::max(largest, g.numel());
    all += g.numel();
  }
  const MemoryTag tag(MemoryUse::workspace);
  const auto make = [](int64_t n, at::ScalarType type) { at::empty({n}, at::device(at::kMeta).dtype(type)); };
  if (ceilings_.device == Device::cpu) return make(largest, at::kDouble);  // a norm in float64 is of a copy
  if (has_fused_update()) return;
  const int64_t together = std::min(all, kTogether + largest);
  if (config_.numerics.dtype == Dtype::float64)  // scaled gradients and roots of the second moments
    make(2 * together, at::kDouble);
  else  // rounded copies of gradients, of which one is scaled in float32 first
    make(together + 2 * largest, at::kBFloat16);
}

// Adds it to the report, so many times: micro-batches between the first and the last are like the first.
void PlannedRank::count(PlanReport& r, const Moment& m, double times) const {
  r.step_s += times * m.now;
  r.exposed_s += times * m.waited;
  r.forward_s += times * m.tally.forward_s;
  r.recompute_s += times * m.tally.recompute_s;
  r.backward_s += times * m.tally.backward_s;
  r.counted_clip_flops += times * m.tally.forward_flops;
  for (const auto& [op, seconds] : m.tally.seconds) r.op_s[op] += times * seconds;
  for (size_t i = 0; i < m.collectives; ++i) add_traffic(r.traffic, network_.collectives()[i], times);
}

// The update reads gradients, once more for their norm, and reads and writes weights, state and averages. In
// passes of their own gradients are also read and written to scale them, and weights read for the averages.
double PlannedRank::update_bytes() {
  double weights = 0;
  for (const ShardView& w : model_.fsdp->weights()) weights += static_cast<double>(w.local.nbytes());
  double bytes = 2 * weights + 2 * weights + 2 * bytes_of(step_.optimizer().state());
  if (step_.averaged()) bytes += 2 * bytes_of(step_.averaged()->averages());
  if (!has_fused_update()) bytes += (step_.averaged() ? 3 : 2) * weights;
  return bytes;
}

}  // namespace orrery
