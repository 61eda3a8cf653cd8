// Ranks of a context group encode their films together.
#include "autograd/observer.h"
#include "model/wan_tokenizer.h"
#include "model/wan_vae_net.h"
#include "one_thread.h"
#include "parallel/row_exchange.h"
#include "train/mesh_runs.h"

namespace orrery::test {
namespace {

constexpr int64_t kHeight = 64;

// Counts the FLOPs of convolutions.
struct Convolutions final : OpObserver {
  void before(const OpCall&) override {}
  void after(const OpCall& call, const Tensors&) override {
    std::vector<Shape> shapes;
    for (const at::Tensor& in : call.in) shapes.push_back(in.defined() ? in.sizes().vec() : Shape{});
    if (call.op.name() == "conv3d") flops += call.op.forward_flops(shapes);
  }
  double flops = 0;
};

class SharedFilms : public testing::Test {
 protected:
  struct Result {
    double loss, flops;
  };

  // A step of one context group. number: of this rank's film.
  Result step(const WanTokenizer& tokenizer, flow::BatchKind kind, uint64_t number) {
    SceneNetwork model(config, mesh);
    const auto text = make_text_encoder(config, at::kCPU);
    TrainStep train(config, model.net, model.parallel, mesh, tokenizer, *text);
    const int64_t frames = kind == flow::BatchKind::image ? 1 : config.data.frames;
    StepBatch batch;
    batch.video = (Rng(number, "film").uniform_tensor({ranks, 3, frames, kHeight, 16}) * 256).to(at::kByte);
    for (int64_t i = 0; i < ranks; ++i) {
      batch.captions.emplace_back("lift");
      batch.samples.push_back(i);
    }
    batch.kind = kind;
    Convolutions convolutions;
    const Observing observing(convolutions);
    return {train(batch, 0).loss, convolutions.flops};
  }

  static Config config_of(int64_t ranks) {
    Config c = odd_config(Dtype::float32);
    c.data.height = kHeight;
    c.data.width = 16;
    c.train.batch = ranks;
    c.tokenizer.kind = TokenizerKind::wan;
    return c;
  }

  const OneThread guard;
  const int64_t ranks = test_world().size();
  const Config config = config_of(ranks);
  const Mesh mesh{test_world(), {1, 1, static_cast<int>(ranks)}};
  const WanTokenizer alone{random_vae(at::kFloat), {.encode = 4}},
      together{random_vae(at::kFloat), {.encode = 4}, row_exchange(mesh.context())};
};

TEST_F(SharedFilms, give_the_step_that_one_rank_gives_with_its_share_of_the_work) {
  const Result want = step(alone, flow::BatchKind::video, 1), got = step(together, flow::BatchKind::video, 1);
  EXPECT_NEAR(got.loss, want.loss, 1e-5 * want.loss);
  // Rows of the halo are read, not computed.
  EXPECT_NEAR(got.flops * static_cast<double>(ranks), want.flops, 0.02 * want.flops);
}

TEST_F(SharedFilms, are_no_images_of_which_each_rank_has_its_own) {
  const Result want = step(alone, flow::BatchKind::image, 1), got = step(together, flow::BatchKind::image, 1);
  EXPECT_EQ(got.loss, want.loss);
  EXPECT_EQ(got.flops, want.flops);
}

TEST_F(SharedFilms, that_a_rank_could_not_read_are_the_first_ranks) {
  const Result want = step(alone, flow::BatchKind::video, 0),
               got = step(together, flow::BatchKind::video, static_cast<uint64_t>(mesh.context().rank()));
  EXPECT_EQ(got.loss, want.loss);
}

}  // namespace
}  // namespace orrery::test
