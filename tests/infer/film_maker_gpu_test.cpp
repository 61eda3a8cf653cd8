// Films of requests on a CUDA device: those of the CPU, and how long an evaluation of the released size
// takes.
#include <ATen/Context.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "autograd/tape.h"
#include "gpu_speed.h"
#include "infer/small_model.h"
#include "random_weights.h"

namespace orrery {
namespace {

class CudaFilms : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }
};

at::Tensor film_on(Device device, const FilmRequest& request, int64_t seed) {
  Config config = test::small_config(Dtype::float32);
  config.numerics.device = device;
  test::SmallModel model(config);
  const auto host = single_rank_comm("alone");
  const auto card = single_rank_comm("alone", device_of(config.numerics, 0).type());
  FilmMaker maker = model.maker({card.get(), card.get(), host.get()});
  return maker(request, seed, test::small_input());
}

TEST_F(CudaFilms, are_those_of_the_cpu) {
  for (const InferenceType type : {InferenceType::text2world, InferenceType::video2world}) {
    FilmRequest request = test::small_request(type);
    request.enable_autoregressive = true;
    request.num_output_frames = 20;
    request.chunk_size = 13;
    const at::Tensor want = film_on(Device::cpu, request, 3).to(at::kDouble);
    const at::Tensor difference = (film_on(Device::cuda, request, 3).to(at::kDouble) - want).abs();
    EXPECT_GT(want.std().item().toDouble(), 20) << "a flat film proves nothing";
    EXPECT_LE(difference.max().item().toDouble(), 3);
    EXPECT_LE(difference.mean().item().toDouble(), 0.02);
  }
}

// Denoising of the 2B model at 720p: two evaluations a step, 35 steps. film_maker_nccl_test.cpp times whole
// films.
TEST_F(CudaFilms, Speed_2b_720p) {
  Config config;
  config.numerics.device = Device::cuda;
  config.numerics.dtype = Dtype::bfloat16;
  DiT net(dit_config(config));
  net.materialize(at::kCUDA, at::kBFloat16);
  test::draw_weights(net);
  const flow::Denoiser denoiser = denoiser_of(net, TextForm::projected);
  const auto options = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);
  flow::DenoiserInput in;
  in.x = Variable(at::randn({1, 16, 24, 88, 160}, options));  // random bits cost power that equal ones do not
  in.timesteps = Variable(at::ones({1, 1}, options.dtype(at::kFloat)) * 500);
  in.condition_mask = at::ones({1, 1, 24, 88, 160}, options) * 0;
  in.text = at::randn({1, 512, net.config.crossattn_emb_channels}, options);
  const NoRecording guard;
  const double ms = median_ms([&] { denoiser(in); });
  std::printf(
      "speed: 2B at 93 x 704 x 1280: %.0f ms an evaluation, %.1f s a film of 35 steps with guidance\n", ms,
      70e-3 * ms);
}

}  // namespace
}  // namespace orrery
