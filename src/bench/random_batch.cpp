#include "bench/random_batch.h"

#include <ATen/Context.h>
#include <ATen/ops/randn.h>

#include "base/error.h"
#include "base/rng.h"
#include "infer/world_model.h"

namespace orrery {
namespace {

// A generator of the device, of its own and with its own seed.
at::Generator generator(at::Device device, uint64_t seed, std::string_view purpose, int rank) {
  at::Generator out = at::globalContext().defaultGenerator(device).clone();
  out.set_current_seed(Rng(seed, purpose, {static_cast<uint64_t>(rank)}).next());
  return out;
}

// dims: of the whole weight, of which `values` may be a shard.
void fill(at::Tensor values, size_t dims, const at::Generator& random) {
  if (dims > 1)
    values.normal_(0, 0.02, random);
  else
    values.fill_(1);
}

}  // namespace

flow::FlowBatch random_batch(const Config& c, const Mesh& mesh, at::Device device) {
  const int64_t groups = mesh.data().size(), clips = c.train.batch / groups;
  require(c.train.batch % groups == 0, "train.batch = ", c.train.batch, ", wanted a multiple of the ", groups,
          " groups of ranks with clips of their own");
  std::vector<int64_t> samples;
  for (int64_t i = 0; i < clips; ++i) samples.push_back(mesh.data().rank() * clips + i);
  const auto seed = static_cast<uint64_t>(c.train.seed);
  at::Generator random = generator(device, seed, "bench.batch", mesh.data().rank());
  const at::ScalarType type = scalar_type(c.numerics.dtype);
  const auto normal = [&](at::IntArrayRef shape, at::ScalarType dtype) {
    return at::randn(shape, random, at::TensorOptions(device).dtype(dtype));
  };
  const at::ScalarType exact = type == at::kDouble ? at::kDouble : at::kFloat;
  const flow::TimeConfig time = flow::time_config(c.flow);
  flow::FlowBatch out;
  out.kind = c.data.frames > 1 ? flow::BatchKind::video : flow::BatchKind::image;
  out.x0 = normal(latent_shape(c, clips), exact);
  out.noise = normal(out.x0.sizes(), exact);
  out.times = flow::times_from_draws(time, flow::draw_times(time, seed, 0, samples));
  if (out.kind == flow::BatchKind::video)
    out.num_condition_frames = flow::num_condition_frames(
        flow::frame_law(c.flow), flow::draw_condition_frames(seed, 0, samples), out.x0.size(2));
  out.text = normal({clips, text_tokens(c), dit_config(c).text_channels()}, type);
  return out;
}

void fill_weights(Fsdp& fsdp, uint64_t seed, int rank) {
  at::Generator random = generator(fsdp.device(), seed, "bench.weights", rank);
  for (const ShardView& w : fsdp.weights()) fill(w.local, w.shape.size(), random);
  fsdp.release();
}

void fill_weights(const DiT& net, uint64_t seed) {
  at::Generator random = generator(net.seq.value().device(), seed, "bench.weights", 0);
  for (const Parameter* p : net.parameters()) fill(p->value(), p->value().sizes().size(), random);
}

Shape latent_shape(const Config& c, int64_t clips) {
  return {clips, c.tokenizer.channels, 1 + (c.data.frames - 1) / 4, c.data.height / 8, c.data.width / 8};
}

}  // namespace orrery
