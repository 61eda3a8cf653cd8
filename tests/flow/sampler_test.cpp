#include "flow/sampler.h"

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "flow/numpy_random.h"

namespace orrery::flow {
namespace {

// v(x, t) = 0.3 x + t / 1000 with the truncated timestep; golden numbers of the specification, section 7.
at::Tensor test_velocity(const at::Tensor& x, const SamplerStep& step) {
  return 0.3 * x + static_cast<double>(step.timestep) / 1000;
}

double unipc_of_one(const NoiseLevels& levels) {
  return sample_unipc(levels, at::ones({1}, at::kDouble), test_velocity).item<double>();
}

TEST(Sampler, unipc_golden_scalars) {
  EXPECT_NEAR(unipc_of_one(linear_levels(10, 5)), 0.2623760642, 1e-7);
  EXPECT_NEAR(unipc_of_one(linear_levels(35, 5)), 0.3273113762, 1e-7);
  EXPECT_NEAR(unipc_of_one(karras_levels(10)), 0.4113878814, 1e-7);
  EXPECT_NEAR(unipc_of_one(karras_levels(35)), 0.3374652524, 1e-7);
}

TEST(Sampler, noise_levels_of_the_reference) {
  const NoiseLevels linear = linear_levels(35, 5);
  ASSERT_EQ(linear.sigmas.size(), 36u);
  EXPECT_NEAR(linear.sigmas[0], 0.9998, 1e-6);
  EXPECT_NEAR(linear.sigmas[1], 0.993948, 1e-6);
  EXPECT_NEAR(linear.sigmas[34], 0.12809, 1e-5);
  EXPECT_EQ(linear.sigmas[35], 0);
  EXPECT_EQ((std::vector<int64_t>(linear.timesteps.begin(), linear.timesteps.begin() + 5)),
            (std::vector<int64_t>{999, 993, 987, 981, 974}));
  EXPECT_EQ(linear.timesteps[34], 128);
  const NoiseLevels karras = karras_levels(35);
  ASSERT_EQ(karras.num_steps(), 36);
  EXPECT_NEAR(karras.sigmas[0], 0.995025, 1e-6);
  EXPECT_NEAR(karras.sigmas[35], 0.009901, 1e-6);
  EXPECT_EQ((std::vector<int64_t>(karras.timesteps.begin(), karras.timesteps.begin() + 5)),
            (std::vector<int64_t>{995, 994, 993, 992, 990}));
  EXPECT_EQ(karras.timesteps[35], 9);
}

// dx/dsigma = x has the solution x(0) = x(s) exp(-s): second order means a quarter of the error at twice the
// steps.
TEST(Sampler, unipc_converges_faster_than_euler) {
  const auto linear_flow = [](const at::Tensor& x, const SamplerStep&) { return x; };
  const auto error = [&](SamplerKind kind, int64_t steps) {
    const NoiseLevels levels = linear_levels(steps, 1);
    const double exact = std::exp(-double{levels.sigmas[0]});
    return std::abs(sample(kind, levels, at::ones({}, at::kDouble), linear_flow).item<double>() - exact);
  };
  EXPECT_NEAR(error(SamplerKind::euler, 40) / error(SamplerKind::euler, 80), 2, 0.2);
  EXPECT_GT(error(SamplerKind::unipc, 40) / error(SamplerKind::unipc, 80), 3.5);
  EXPECT_LT(error(SamplerKind::unipc, 40), error(SamplerKind::euler, 40) / 10);
}

TEST(Sampler, a_straight_flow_is_exact_in_one_step) {
  const at::Tensor noise = at::tensor({0.3f, -2.f}), data = at::tensor({1.f, 5.f});
  const auto straight = [&](const at::Tensor& x, const SamplerStep& step) { return (x - data) / step.sigma; };
  for (const SamplerKind kind : {SamplerKind::unipc, SamplerKind::euler})
    for (const int64_t steps : {1, 2, 7}) {
      const at::Tensor out = sample(kind, linear_levels(steps, 5), noise, straight);
      EXPECT_LT((out - data).abs().max().item<double>(), 1e-5);
      EXPECT_EQ(out.scalar_type(), at::kFloat);
    }
}

TEST(Sampler, states_after_each_step_are_reported) {
  std::vector<int64_t> timesteps;
  at::Tensor last;
  const at::Tensor out = sample_unipc(linear_levels(4, 5), at::ones({2}), test_velocity,
                                      [&](const SamplerStep& step, const at::Tensor& x) {
                                        timesteps.push_back(step.timestep);
                                        last = x;
                                      });
  EXPECT_EQ(timesteps, linear_levels(4, 5).timesteps);
  EXPECT_TRUE(last.is_same(out));
}

TEST(Sampler, impossible_schedules_are_refused) {
  EXPECT_THROW(linear_levels(0, 5), Error);
  EXPECT_THROW(linear_levels(4, 0), Error);
  EXPECT_THROW(linear_levels(4, NAN), Error);
  EXPECT_THROW(linear_levels(int64_t{1} << 40, 5), Error);
  EXPECT_THROW(linear_levels(100, 1e9), Error) << "levels equal in float32";
  EXPECT_THROW(sample_unipc(linear_levels(1, 1e9), at::ones({1}), test_velocity), Error) << "sigma 1";
  EXPECT_THROW(sample_euler(linear_levels(4, 5), at::ones({1}, at::kBFloat16), test_velocity), Error);
  EXPECT_THROW(sample_euler(linear_levels(4, 5), at::ones({2}),
                            [](const at::Tensor&, const SamplerStep&) { return at::ones({3}); }),
               Error);
}

TEST(Guidance, both_formulas) {
  const at::Tensor c = at::full({1}, 3.f), u = at::full({1}, 1.f);
  EXPECT_EQ(guided(Guidance::v2w, 7, c, u).item<float>(), 3 + 7 * 2);
  EXPECT_EQ(guided(Guidance::t2w, 7, c, u).item<float>(), 1 + 7 * 2);
  EXPECT_THROW(guided(Guidance::t2w, 7, c, at::zeros({2})), Error);
}

TEST(NumpyRandom, first_numbers_of_two_seeds) {
  const at::Tensor zero = numpy_normal(0, {2, 2}), one = numpy_normal(1, {4});
  const float wanted0[] = {1.76405235f, 0.40015721f, 0.97873798f, 2.2408932f};
  const float wanted1[] = {1.62434536f, -0.61175641f, -0.52817175f, -1.07296862f};
  for (int i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(zero.flatten()[i].item<float>(), wanted0[i]);
    EXPECT_FLOAT_EQ(one[i].item<float>(), wanted1[i]);
  }
}

TEST(NumpyRandom,
     generator_words_of_the_published_test_vector) {  // mt19937ar.c: init_genrand(5489), 10000th word
  NumpyRandom random(5489);
  for (int i = 0; i < 9999; ++i) random.next();
  EXPECT_EQ(random.next(), 4123659995u);
}

TEST(NumpyRandom, bad_seeds_and_shapes_are_refused) {
  EXPECT_THROW(numpy_normal(-1, {2}), Error);
  EXPECT_THROW(numpy_normal(int64_t{1} << 32, {2}), Error);
  EXPECT_THROW(numpy_normal(0, {-2}), Error);
  EXPECT_THROW(numpy_normal(0, {int64_t{1} << 31, int64_t{1} << 31, int64_t{1} << 31}), Error);
  EXPECT_EQ(numpy_normal(0, {0, 5}).numel(), 0);
  EXPECT_EQ(numpy_normal((int64_t{1} << 32) - 1, {1}).numel(), 1);
}

}  // namespace
}  // namespace orrery::flow
