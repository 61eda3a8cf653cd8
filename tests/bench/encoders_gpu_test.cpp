// Working memory of the autoencoder and of the text encoder of released size on a CUDA device, beside what is
// planned.
#include <ATen/Context.h>
#include <ATen/ops/zeros.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <gtest/gtest.h>

#include "autograd/tape.h"
#include "infer/reason1_text.h"
#include "model/wan_tokenizer.h"
#include "plan/dry_run.h"

namespace orrery {
namespace {

const at::Device kGpu(at::kCUDA, 0);

class EncodersGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }

  // Bytes of tensors while it runs, beyond those that are there. Values do not matter.
  static double counted(const std::function<void()>& run) {
    const NoRecording guard;
    run();  // the libraries' own memory comes at the first call
    auto& allocator = dynamic_cast<c10::DeviceAllocator&>(*c10::GetAllocator(at::kCUDA));
    allocator.resetPeakStats(0);
    const auto before = allocator.getDeviceStats(0).allocated_bytes[0].current;
    run();
    return static_cast<double>(allocator.getDeviceStats(0).allocated_bytes[0].peak - before);
  }
  static void make(Module& net) {
    net.materialize(kGpu, at::kBFloat16);
    net.set_needs_grad(false);
    for (const Parameter* p : net.parameters()) at::Tensor(p->value()).zero_();
  }
  static double planned(const Config& c) {
    return static_cast<double>(dry_run(c, {0}, read_ceilings("h200")).encoding[MemoryUse::workspace]);
  }
  static Config config() {
    Config c;
    c.model.blocks = 1;
    c.train.batch = 1;
    c.numerics.dtype = Dtype::bfloat16;
    c.memory.policy = MemoryPolicy::full;
    return c;
  }
};

TEST_F(EncodersGpu, a_film_takes_what_is_planned) {
  Config c = config();
  c.data.frames = 49;  // a first frame and three windows: longer films take no more
  c.tokenizer.kind = TokenizerKind::wan;
  auto net = std::make_unique<WanVae>(WanVaeConfig(), WanVaePart::both);
  make(*net);
  const WanTokenizer tokenizer(std::move(net), {});
  const at::Tensor film = at::zeros({1, 3, 49, 704, 1280}, at::kByte);
  const double want = planned(c), got = counted([&] { tokenizer.encode(film); });
  RecordProperty("counted_gib", std::to_string(got / (1 << 30)));
  EXPECT_NEAR(got, want, 0.05 * want);
}

// Memory is fullest where the layers' outputs are joined.
TEST_F(EncodersGpu, a_prompt_takes_what_is_planned) {
  Config c = config();
  c.text.kind = TextKind::reason1;
  Reason1Net net("model", {});
  make(net);
  const at::Tensor ids = at::zeros({512}, at::TensorOptions(kGpu).dtype(at::kLong));
  const double got = counted([&] { reason1_embedding(net, ids, LayerJoin::full_concat); });
  const double want = planned(c);
  EXPECT_NEAR(got, want, 0.1 * want);
}

}  // namespace
}  // namespace orrery
