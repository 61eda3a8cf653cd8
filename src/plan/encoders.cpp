#include "plan/encoders.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include "autograd/tape.h"
#include "base/memory.h"
#include "infer/network_files.h"
#include "infer/use_cache.h"
#include "infer/world_model.h"
#include "parallel/row_exchange.h"
#include "plan/dry_run.h"
#include "train/evaluate.h"

namespace orrery {
namespace {

template <class NetConfig>
NetConfig sizes_of(const TextConfig& text, NetConfig (*parse)(const nlohmann::json&)) {
  return text.weights.empty() ? NetConfig{} : network_config(text.weights, parse);
}

void make_weights(Module& net, Dtype dtype) {
  const MemoryTag tag(MemoryUse::encoders);
  net.materialize(at::kMeta, scalar_type(dtype));
  net.set_needs_grad(false);
}

std::unique_ptr<WanTokenizer> make_wan(const TokenizerConfig& c, std::shared_ptr<const RowExchange> rows) {
  auto net = std::make_unique<WanVae>(WanVaeConfig{.dim = c.width, .z_dim = c.channels}, WanVaePart::both);
  make_weights(*net, c.dtype);
  const WanWindows windows{.encode = c.encode_window, .decode = c.decode_window};
  return std::make_unique<WanTokenizer>(std::move(net), windows, std::move(rows));
}

// The largest set of films that the run makes; 0: none.
int64_t sampled_films(const Config& c) {
  const int64_t wanted = std::max(c.sample.every > 0 ? c.sample.clips : 0, c.sample.final_clips);
  return c.sample.path.empty() ? std::min(wanted, c.data.held_out) : wanted;
}

at::Tensor host_film(const Shape& shape) {
  return at::zeros({1}, at::kByte).expand(shape);
}

}  // namespace

// A rank in the middle has two neighbours.
PlannedEncoders::PlannedEncoders(const Config& config, const Ceilings& ceilings)
    : config_(config),
      films_on_device_(ceilings.device == Device::cpu),
      encodes_films_(encodes_films(config)),
      network_(clock_, ceilings.links(), nodes_of(config.parallel.context, ceilings)),
      mesh_(network_.mesh(config.parallel.context > 1 ? 1 : 0,
                          {.context = static_cast<int>(config.parallel.context)})) {
  const bool shares_rows = config.parallel.context > 1 && config.data.frames > 1;
  if (config.tokenizer.kind == TokenizerKind::wan)
    tokenizer_ = make_wan(config.tokenizer, shares_rows ? row_exchange(mesh_.context()) : nullptr);
  if (!encodes_prompts(config)) return;
  if (config.text.kind == TextKind::reason1) {
    reason1_ = std::make_unique<Reason1Net>("model", sizes_of(config.text, qwen_text_config));
    make_weights(*reason1_, config.text.dtype);
  } else if (config.text.kind == TextKind::t5) {
    t5_ = std::make_unique<T5Encoder>(sizes_of(config.text, t5_config));
    make_weights(*t5_, config.text.dtype);
  }
}

void PlannedEncoders::encode(int64_t clips) const {
  const NoRecording guard;
  const at::Tensor x0 = latents(clips);
  const at::Tensor noise = x0.defined() ? at::empty_like(x0) : at::Tensor();
  const at::Tensor text = embeddings(clips);
  if (text.defined()) at::empty_like(text);  // of prompts that are dropped out
}

bool PlannedEncoders::work_in_samples() const {
  return tokenizer_ && sampled_films(config_) > 0;
}

void PlannedEncoders::sample(int64_t groups) const {
  const NoRecording guard;
  const DataConfig& d = config_.data;
  const int64_t share = (sampled_films(config_) + groups - 1) / groups,
                clips = std::min(share, clips_at_once(3 * d.frames * d.height * d.width));
  const at::Tensor films = host_film({clips, 3, d.frames, d.height, d.width});
  tokenizer_->decode(tokenizer_->encode(films));
}

// The first of them take their results' memory alone: memory is fullest at the last one.
at::Tensor PlannedEncoders::latents(int64_t clips) const {
  if (!tokenizer_ || !encodes_films_) return {};
  const DataConfig& d = config_.data;
  const Shape film{1, 3, d.frames, d.height, d.width};
  Tensors all;
  for (int64_t i = 0; i + 1 < clips; ++i)
    all.push_back(at::empty({tokenizer_->channels(), tokenizer_->latent_frames(d.frames),
                             d.height / tokenizer_->spatial_factor(), d.width / tokenizer_->spatial_factor()},
                            at::device(at::kMeta).dtype(at::kFloat)));
  const at::Tensor pixels = [&] {
    const MemoryTag tag(MemoryUse::untracked);  // the loader's
    return films_on_device_ ? at::empty(film, at::device(at::kMeta).dtype(at::kByte)) : host_film(film);
  }();
  all.push_back(tokenizer_->encode(pixels)[0]);
  return at::stack(all);
}

at::Tensor PlannedEncoders::embeddings(int64_t clips) const {
  const int64_t tokens = text_tokens(config_);
  const at::Tensor ids = at::empty({tokens}, at::device(at::kMeta).dtype(at::kLong));
  if (t5_) {
    const at::TensorOptions options = t5_->shared.weight.value().options();
    const at::Tensor all = at::zeros({clips, tokens, t5_->config.d_model}, options);
    (*t5_)(ids.unsqueeze(0));
    return all;
  }
  if (!reason1_) return {};
  const at::TensorOptions options = reason1_->text.norm.weight.value().options();
  Tensors all;
  for (int64_t i = 0; i + 1 < clips; ++i)
    all.push_back(at::empty({tokens, reason1_channels(*reason1_, config_.text.join)}, options));
  all.push_back(reason1_embedding(*reason1_, ids, config_.text.join));
  return at::stack(all);
}

}  // namespace orrery
