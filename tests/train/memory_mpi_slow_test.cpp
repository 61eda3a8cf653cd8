// What a rank holds of the model at a time, counted by the allocator.
#include "autograd/observer.h"
#include "base/memory.h"
#include "infer/make_text_encoder.h"
#include "train/mesh_runs.h"

namespace orrery::test {
namespace {

// The most that the model's state took at any op or scope: shards, gathered weights, gradients, moments.
class StateWatch final : public OpObserver, public ScopeHooks {
 public:
  explicit StateWatch(const MemoryMeter& meter) : meter_(meter) {}
  void after(const OpCall&, const Tensors&) override { look(); }
  void before_forward() override { look(); }
  void after_forward() override { look(); }
  void before_backward() override { look(); }
  void after_backward() override { look(); }
  int64_t most() const { return most_; }

 private:
  void look() {
    const MemoryUsage now = meter_.live();
    most_ = std::max(most_, now[MemoryUse::weights] + now[MemoryUse::gathered] + now[MemoryUse::gradients] +
                                now[MemoryUse::optimizer]);
  }
  const MemoryMeter& meter_;
  int64_t most_ = 0;
};

Config deep_config(Dtype dtype) {
  Config config = odd_config(dtype);
  config.model.blocks = 4;
  config.optim.ema = Ema::none;
  return config;
}

// Elements of one rank's pieces: the longest shard of each parameter, which begin at multiples of 8.
int64_t padded_parameters(const Fsdp& fsdp, int ranks) {
  int64_t count = 0;
  for (const ShardView& w : fsdp.weights())
    count +=
        (shard_rows(w.shape[0], 0, ranks).size() * c10::multiply_integers(w.shape) / w.shape[0] + 7) / 8 * 8;
  return count;
}

void expect_two_units_beside_the_shards(const Config& config, MeshShape shape) {
  const MemoryMeter meter(at::kCPU);
  const auto watch = std::make_shared<StateWatch>(meter);
  const Mesh mesh = mesh_of(shape);
  SceneNetwork model(config, mesh);
  for (Module* module : model.net.children()) module->hooks.push_back(watch);
  const LinearTokenizer tokenizer = scene_tokenizer(config.tokenizer.channels);
  const auto text = make_text_encoder(config, at::kCPU);
  TrainStep step(config, model.net, model.parallel, mesh, tokenizer, *text);
  const Observing observing(*watch);
  const int64_t share = kBatch / mesh.data().size(), begin = share * mesh.data().rank();
  step.forward_backward(latents(config, flow::BatchKind::video, begin, begin + share));
  EXPECT_EQ(meter.live()[MemoryUse::gathered], 0) << "after the last backward no unit is whole";
  const std::vector<at::Tensor> grads = model.fsdp().take_gradients();

  const int ranks = shape.shard * shape.context;
  const int64_t per_rank = padded_parameters(model.fsdp(), ranks);
  const auto compute = static_cast<int64_t>(at::elementSize(model.net.dtype()));
  EXPECT_LE(meter.live()[MemoryUse::weights], 4 * per_rank + 64);  // the buffers' few numbers
  EXPECT_LE(meter.live()[MemoryUse::gradients], 4 * per_rank);
  const int64_t unit =
      model.fsdp().largest_unit() * (compute + 4);  // its weights, and its gradients in float32
  EXPECT_LE(watch->most(), 16 * per_rank + 2 * unit + 256)
      << name_of(shape) << " " << name_of(config.numerics.dtype);
  EXPECT_GT(watch->most(), 12 * per_rank + unit / 4);
}

TEST(MemoryMpi, state_takes_its_share_and_two_units) {
  if (test_world().size() > 4) GTEST_SKIP() << "two and four ranks say it";
  for (const Dtype dtype : {Dtype::float32, Dtype::bfloat16})
    for (const MeshShape& shape : meshes())
      if (shape.shard * shape.context > 1 && shape.shard != shape.context)
        expect_two_units_beside_the_shards(deep_config(dtype), shape);
}

TEST(MemoryMpi, generation_leaves_no_weights_gathered) {
  const MemoryMeter meter(at::kCPU);
  const Config config = deep_config(Dtype::bfloat16);
  const Mesh mesh = mesh_of({1, 0, 1});
  SceneNetwork model(config, mesh);
  flow::FlowBatch batch = latents(config, flow::BatchKind::video, 0, 2);
  flow::flow_loss(flow::denoise_config(config.flow, at::kBFloat16), model.parallel.denoiser, batch);
  EXPECT_EQ(meter.live()[MemoryUse::gathered], 0);
}

}  // namespace
}  // namespace orrery::test
