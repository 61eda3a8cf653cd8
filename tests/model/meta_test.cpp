// The network without memory: what plans are made of.
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "autograd/observer.h"
#include "autograd/save_policy.h"
#include "autograd/tape.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/rng.h"
#include "model/presets.h"
#include "ops/loss.h"
#include "ops/reduce.h"

namespace orrery {
namespace {

struct Record {
  std::string line;    // phase, label, shapes of the results
  int64_t peak, then;  // bytes while it ran and after it
};

class Trace final : public OpObserver {
 public:
  explicit Trace(MemoryMeter& meter) : meter_(meter) {}
  void before(const OpCall&) override { meter_.reset_peak(); }
  void after(const OpCall& call, const Tensors& out) override {
    std::string line = text_of(static_cast<int>(call.phase), " ", call.label());
    for (const at::Tensor& t : out)
      if (t.defined()) line += text_of(" ", t.sizes(), t.scalar_type());
    records.push_back({line, meter_.peak().total(), meter_.live().total()});
  }
  std::vector<Record> records;

 private:
  MemoryMeter& meter_;
};

struct Pass {
  std::vector<Record> records;
  int64_t held_bytes = 0;
};

Pass run_on(c10::DeviceType device, at::ScalarType type, bool recompute) {
  MemoryMeter meter(device);
  const MemoryTag tag(MemoryUse::activations);
  DiT net(dit_preset("nano"));
  net.materialize(device, type);
  if (recompute)
    for (auto& block : net.blocks)
      block->save_policy = std::make_shared<SavePolicy>(std::vector<std::string>{"*.attention"});
  if (device == at::kCPU) net.initialize(1);
  DiTInput in;
  const auto options = at::device(device).dtype(at::kFloat);
  in.x = Variable(at::zeros({2, 16, 3, 16, 16}, options));
  in.timesteps = Variable(at::zeros({2, 1}, options));
  in.crossattn_emb = Variable(at::zeros({2, 5, net.config.text_channels()}, options));
  in.condition_mask = at::zeros({2, 1, 3, 16, 16}, options);
  Trace trace(meter);
  const Observing observing(trace);
  Recording recording;
  const Variable v = net(in);
  const Variable loss = ops::mean(ops::squared_error(v, Variable(at::zeros(v.shape(), options))));
  Pass run;
  run.held_bytes = recording.tape().held_bytes();
  recording.backward(loss);
  run.records = trace.records;
  return run;
}

class MetaDiT : public testing::TestWithParam<std::tuple<at::ScalarType, bool>> {};
INSTANTIATE_TEST_SUITE_P(Types, MetaDiT,
                         testing::Combine(testing::Values(at::kFloat, at::kBFloat16), testing::Bool()));

TEST_P(MetaDiT, runs_the_same_ops_on_the_same_shapes_and_takes_the_same_memory_as_on_the_cpu) {
  const auto [type, recompute] = GetParam();
  const Pass cpu = run_on(at::kCPU, type, recompute), meta = run_on(at::kMeta, type, recompute);
  EXPECT_EQ(meta.held_bytes, cpu.held_bytes);
  ASSERT_EQ(meta.records.size(), cpu.records.size());
  constexpr int64_t kScalars = 64;  // ATen wraps numbers in CPU tensors of a few bytes
  for (size_t i = 0; i < cpu.records.size(); ++i) {
    ASSERT_EQ(meta.records[i].line, cpu.records[i].line);
    EXPECT_EQ(meta.records[i].then, cpu.records[i].then) << "after " << cpu.records[i].line;
    EXPECT_LE(meta.records[i].peak, cpu.records[i].peak) << "in " << cpu.records[i].line;
    // oneDNN's bfloat16 products pack their operands, as the processor wants them.
    const int64_t slack = type == at::kFloat ? kScalars : std::numeric_limits<int64_t>::max();
    EXPECT_LE(cpu.records[i].peak - meta.records[i].peak, slack) << "in " << cpu.records[i].line;
  }
}

}  // namespace
}  // namespace orrery
