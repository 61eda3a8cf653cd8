#include "train/step.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/DeviceGuard.h>

#include "autograd/tape.h"
#include "base/error.h"
#include "base/memory.h"
#include "ckpt/digest.h"
#include "infer/world_model.h"
#include "ops/elementwise.h"
#include "ops/numeric.h"
#include "parallel/agreement.h"

namespace orrery {
namespace {

std::vector<NamedTensor> shards_of(const Fsdp& fsdp) {
  std::vector<NamedTensor> out;
  for (const ShardView& w : fsdp.weights()) out.push_back({w.name, w.local});
  return out;
}

// Rows [begin, end) of every tensor of the batch.
flow::FlowBatch rows(const flow::FlowBatch& b, int64_t begin, int64_t end) {
  const auto cut = [&](const at::Tensor& x) { return x.defined() ? x.slice(0, begin, end) : x; };
  return {.x0 = cut(b.x0),
          .noise = cut(b.noise),
          .times = {cut(b.times.t), cut(b.times.sigmas), cut(b.times.timesteps)},
          .num_condition_frames = cut(b.num_condition_frames),
          .text = cut(b.text),
          .padding_mask = cut(b.padding_mask),
          .fps = cut(b.fps),
          .kind = b.kind};
}

// Whether this clip's latents are to be made.
bool is_film(const StepBatch& batch, int64_t clip) {
  const auto i = static_cast<size_t>(clip);
  return i >= batch.latents.size() || !batch.latents[i].defined();
}

// Of the films to encode. Some of a film's bytes tell it from others, and from other parts of it.
double digest_of_films(const StepBatch& batch) {
  constexpr int64_t kSome = 1 << 16;
  constexpr uint64_t kExact = uint64_t{1} << 52;  // in a double
  DigestStream digest;
  for (int64_t i = 0; i < std::ssize(batch.samples); ++i) {
    if (!is_film(batch, i)) continue;
    const at::Tensor film = batch.video[i].reshape(-1);
    const at::Tensor some = film.slice(0, 0, std::nullopt, 1 + film.numel() / kSome).contiguous();
    digest.add(text_of(i, batch.video.sizes()));
    digest.add({static_cast<const char*>(some.const_data_ptr()), static_cast<size_t>(some.nbytes())});
  }
  return static_cast<double>(digest.value() % kExact);
}

}  // namespace

TrainStep::TrainStep(const Config& config, DiT& net, ParallelDiT& model, const Mesh& mesh,
                     const VideoTokenizer& tokenizer, const TextEncoder& text)
    : config_(config),
      net_(net),
      fsdp_(*model.fsdp),
      mesh_(mesh),
      tokenizer_(tokenizer),
      text_(text),
      denoiser_(model.denoiser),
      time_(flow::time_config(config.flow)),
      denoise_(flow::denoise_config(config.flow, net.dtype())),
      lr_(lr_config(config.optim, config.train.steps)),
      weights_(shards_of(fsdp_)),
      optimizer_(adamw_config(config.optim), weights_),
      clip_(clip_config(config.optim), [this](const at::Tensor& mine, GradClip::Combine how) {
        return over_ranks(mine, how == GradClip::Combine::sum ? ReduceOp::sum : ReduceOp::max,
                          mesh_.along({Axis::shard, Axis::context}), "gradient norm");
      }) {
  if (config.optim.ema != Ema::none)
    averaged_ = std::make_unique<AveragedWeights>(ema_config(config.optim), weights_);
}

// Whether the ranks of the context group may encode these films together. Where one of them could not read a
// film, it has another in its place, and all go by the first rank's (draw).
bool TrainStep::has_films_of_group(const StepBatch& batch) const {
  Comm& group = mesh_.context();
  const bool makes_latents = config_.data.cache.empty() || config_.data.uncached == Uncached::encode;
  if (batch.kind != flow::BatchKind::video || config_.tokenizer.kind != TokenizerKind::wan || !makes_latents)
    return false;
  if (group.size() == 1) return true;
  const double mine = digest_of_films(batch);
  const at::Tensor ends = at::tensor({mine, -mine}, at::kDouble).to(fsdp_.device());
  group.all_reduce(ends, ReduceOp::max, "films").wait();
  const at::Tensor host = ends.cpu();
  return host[0].item<double>() == -host[1].item<double>();
}

// Clip by clip, so that the latents of one depend neither on the others of its batch nor on their number:
// stored ones (data.cache) are the same, to the bit if no ranks shared the film.
at::Tensor TrainStep::latents_of(const StepBatch& batch, at::TensorOptions options) const {
  const bool together = has_films_of_group(batch);
  const auto encode = [&](const at::Tensor& film) {
    return together ? tokenizer_.encode(film) : tokenizer_.encode_alone(film);
  };
  Tensors clips;
  for (size_t i = 0; i < batch.samples.size(); ++i) {
    const auto number = static_cast<int64_t>(i);
    clips.push_back(to_device(
        is_film(batch, number) ? encode(batch.video.narrow(0, number, 1))[0] : batch.latents[i], options));
  }
  return at::stack(clips);
}

at::Tensor TrainStep::text_for(const StepBatch& batch, int64_t step) const {
  const auto seed = static_cast<uint64_t>(config_.train.seed);
  return flow::drop_text(text_.encode(batch.captions), flow::draw_text_dropout(seed, step, batch.samples),
                         config_.flow.text_dropout);
}

StepInput TrainStep::prepare(const StepBatch& batch, int64_t step) const {
  const MemoryTag tag(MemoryUse::workspace);
  const auto seed = static_cast<uint64_t>(config_.train.seed);
  const at::Device device = fsdp_.device();
  const c10::OptionalDeviceGuard guard(device.is_cuda() ? std::optional(device) : std::nullopt);
  // From there it travels beside other work.
  const auto ready = [&](const at::Tensor& x, at::ScalarType dtype) {
    const at::Tensor rounded = x.to(dtype);
    return device.is_cuda() ? rounded.pin_memory() : rounded;
  };
  StepInput out{.batch = share_of(batch),
                .clips = static_cast<int64_t>(batch.samples.size()) * mesh_.data().size()};
  const StepBatch& mine = out.batch;
  const std::vector<int64_t> clip =
      is_film(mine, 0) ? tokenizer_.latent_shape(mine.video.size(2), mine.video.size(3), mine.video.size(4))
                       : mine.latents[0].sizes().vec();
  out.noise = ready(flow::draw_noise(seed, step, mine.samples, clip), at::kFloat);
  if (text_.holds(mine.captions)) out.text = ready(text_for(mine, step), denoise_.precision);
  return out;
}

flow::FlowBatch TrainStep::draw(const StepInput& input, int64_t step) const {
  const StepBatch& batch = input.batch;
  const auto seed = static_cast<uint64_t>(config_.train.seed);
  const at::Device device = fsdp_.device();
  const at::ScalarType exact = net_.dtype() == at::kDouble ? at::kDouble : at::kFloat;
  flow::FlowBatch out;
  out.kind = batch.kind;
  const auto on_device = [&](const at::Tensor& x, at::ScalarType dtype) {
    return to_device(x, at::TensorOptions(device).dtype(dtype));
  };
  out.x0 = latents_of(batch, at::TensorOptions(device).dtype(exact));
  out.noise = on_device(input.noise, exact);
  out.times = flow::times_from_draws(time_, flow::draw_times(time_, seed, step, batch.samples));
  if (batch.kind == flow::BatchKind::video)
    out.num_condition_frames =
        flow::num_condition_frames(flow::frame_law(config_.flow),
                                   flow::draw_condition_frames(seed, step, batch.samples), out.x0.size(2));
  if (batch.padding_mask.defined()) out.padding_mask = on_device(batch.padding_mask, net_.dtype());
  out.text = on_device(input.text.defined() ? input.text : text_for(batch, step), net_.dtype());
  // Ranks of a context group must see one and the same clip, to the bit.
  if (batch.kind == flow::BatchKind::video)
    broadcast_tensors(mesh_.context(), {out.x0, out.text}, 0, "latents and text");
  return out;
}

// Ranks of a context group share a video's frames, but images are whole: they share out the batch.
StepBatch TrainStep::share_of(const StepBatch& batch) const {
  const auto size = static_cast<int64_t>(batch.samples.size()), ranks = int64_t{mesh_.context().size()};
  if (batch.kind == flow::BatchKind::video || ranks == 1 || size % ranks != 0) return batch;
  const int64_t mine = size / ranks, begin = mine * mesh_.context().rank();
  const auto part = [&](const auto& v) {
    return std::decay_t<decltype(v)>(v.begin() + begin, v.begin() + begin + mine);
  };
  const auto cut = [&](const at::Tensor& x) { return x.defined() ? x.narrow(0, begin, mine) : x; };
  return {.video = cut(batch.video),
          .latents = batch.latents.empty() ? Tensors{} : part(batch.latents),
          .captions = part(batch.captions),
          .padding_mask = cut(batch.padding_mask),
          .samples = part(batch.samples),
          .kind = batch.kind};
}

at::Tensor TrainStep::forward_backward(const flow::FlowBatch& batch) {
  const MemoryTag tag(MemoryUse::activations);
  const int64_t total = batch.x0.size(0);
  const int64_t micro = config_.train.micro_batch > 0 ? std::min(config_.train.micro_batch, total) : total;
  at::Tensor loss = at::zeros({1}, at::device(fsdp_.device()).dtype(at::kDouble));
  for (int64_t begin = 0; begin < total; begin += micro) {
    const int64_t end = std::min(begin + micro, total);
    fsdp_.set_last_micro_batch(end == total);
    Recording recording;
    const flow::FlowLoss part = flow::flow_loss(denoise_, denoiser_, rows(batch, begin, end));
    const Variable share =
        ops::scale(part.loss, static_cast<double>(end - begin) / static_cast<double>(total));
    loss.add_(share.value());
    recording.backward(share);
  }
  return loss;
}

at::Tensor TrainStep::over_ranks(const at::Tensor& mine, ReduceOp op, Comm& comm,
                                 std::string_view label) const {
  at::Tensor value = mine.to(fsdp_.device());  // of a rank without weights it is on the CPU
  if (comm.size() > 1) comm.all_reduce(value, op, label).wait();
  return value;
}

std::vector<NamedTensor> TrainStep::mean_gradients() {
  std::vector<NamedTensor> grads;
  std::vector<at::Tensor> tensors = fsdp_.take_gradients();
  for (size_t i = 0; i < tensors.size(); ++i) grads.push_back({weights_[i].name, std::move(tensors[i])});
  return grads;
}

StepResult TrainStep::run(const StepInput& input, int64_t step) {
  const MemoryTag tag(MemoryUse::workspace);
  return on_drawn(draw(input, step), input.clips, step);
}

StepResult TrainStep::on_drawn(const flow::FlowBatch& batch, int64_t clips, int64_t step) {
  const MemoryTag tag(MemoryUse::workspace);
  StepResult result;
  at::Tensor loss = forward_backward(batch);
  before_clip();
  mesh_.along({Axis::replicate, Axis::shard, Axis::context}).all_reduce(loss, ReduceOp::mean, "loss").wait();
  const std::vector<NamedTensor> grads = mean_gradients();
  // Here the host waits for the device: whether the step is taken depends on the norm.
  const at::Tensor read = at::cat({loss, clip_.measure(grads)}).cpu();
  result.loss = *read.const_data_ptr<double>();
  const ClipResult clipped = clip_.decide(grads, read.slice(0, 1));
  result.grad_norm = clipped.norm;
  result.skipped = clipped.skip;
  result.lr = config_.train.lr * lr_factor(lr_, step);
  // The reference's counters: clips seen, over all ranks.
  at::Tensor seen = (batch.kind == flow::BatchKind::image ? net_.image_samples : net_.video_samples).value();
  seen.add_(clips);
  fsdp_.release();  // gathered weights are about to be old
  if (clipped.skip) return result;
  std::vector<at::Tensor> tensors;
  for (const NamedTensor& grad : grads) tensors.push_back(grad.tensor);
  before_update();
  DueAverages due = averaged_ ? averaged_->due(step) : DueAverages{};
  due = optimizer_.step(tensors, {.lr = result.lr, .grad_scale = clipped.scale, .averages = std::move(due)});
  if (averaged_) averaged_->finish(due);
  return result;
}

}  // namespace orrery
