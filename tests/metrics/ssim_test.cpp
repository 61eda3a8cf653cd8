#include "metrics/ssim.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/rng.h"

namespace orrery {
namespace {

at::Tensor noise(uint64_t number, at::IntArrayRef shape) {
  return (Rng(1, "ssim test", {number}).uniform_tensor(shape) * 256).to(at::kByte);
}

// The formula of one window of 7 x 7, from means and sample covariances.
double of_one_window(const at::Tensor& x, const at::Tensor& y) {
  const at::Tensor a = x.to(at::kDouble), b = y.to(at::kDouble);
  const auto mean = [](const at::Tensor& t) { return t.mean().item<double>(); };
  const double ux = mean(a), uy = mean(b);
  const auto covariance = [&](const at::Tensor& s, double us, const at::Tensor& t, double ut) {
    return ((s - us) * (t - ut)).sum().item<double>() / 48;
  };
  const double vx = covariance(a, ux, a, ux), vy = covariance(b, uy, b, uy), vxy = covariance(a, ux, b, uy);
  const double c1 = 6.5025, c2 = 58.5225;  // (0.01 * 255)^2, (0.03 * 255)^2
  return (2 * ux * uy + c1) * (2 * vxy + c2) / ((ux * ux + uy * uy + c1) * (vx + vy + c2));
}

}  // namespace

TEST(Grey, weighs_the_colours_as_opencv_does) {
  const at::Tensor rgb = at::tensor({255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255, 10, 20, 30}, at::kByte);
  const at::Tensor grey = grey_of(rgb.view({1, 5, 3}));
  EXPECT_TRUE(grey.equal(at::tensor({76, 150, 29, 255, 18}, at::kByte).view({1, 5})));
  EXPECT_THROW(grey_of(rgb.view({5, 3})), Error);
  EXPECT_THROW(grey_of(rgb.view({1, 5, 3}).to(at::kFloat)), Error);
}

TEST(Ssim, is_the_mean_over_all_windows_inside) {
  const at::Tensor x = noise(0, {2, 9, 12}), y = noise(1, {2, 9, 12});
  const at::Tensor found = ssim(x, y);
  for (int64_t frame = 0; frame < 2; ++frame) {
    double total = 0;
    for (int64_t row = 0; row < 3; ++row)
      for (int64_t column = 0; column < 6; ++column) {
        const auto window = [&](const at::Tensor& t) {
          return t[frame].slice(0, row, row + 7).slice(1, column, column + 7);
        };
        total += of_one_window(window(x), window(y));
      }
    EXPECT_NEAR(found[frame].item<double>(), total / 18, 1e-12);
  }
}

TEST(Ssim, equal_frames_give_one_and_flat_ones_differ_by_their_means_alone) {
  const at::Tensor x = noise(2, {1, 16, 16});
  EXPECT_NEAR(ssim(x, x).item<double>(), 1, 1e-12);
  const double c1 = 6.5025;
  EXPECT_NEAR(ssim(at::full({1, 7, 7}, 100, at::kByte), at::full({1, 7, 7}, 50, at::kByte)).item<double>(),
              (2 * 5000 + c1) / (12500 + c1), 1e-12);
}

TEST(Ssim, refuses_what_cannot_be_compared) {
  const at::Tensor x = noise(3, {2, 8, 8});
  EXPECT_THROW(ssim(x, x.slice(0, 0, 1)), Error);
  EXPECT_THROW(ssim(x, x.to(at::kFloat)), Error);
  EXPECT_THROW(ssim(x[0], x[0]), Error);
  EXPECT_THROW(ssim(x.slice(1, 0, 6), x.slice(1, 0, 6)), Error);
  EXPECT_THROW(ssim(x.slice(0, 0, 0), x.slice(0, 0, 0)), Error);
}

}  // namespace orrery
