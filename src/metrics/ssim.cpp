#include "metrics/ssim.h"

#include <ATen/ops/empty.h>

#include <array>
#include <vector>

#include "base/error.h"
#include "base/parallel_for.h"

namespace orrery {
namespace {

constexpr int64_t kWindow = 7;
constexpr double kPixels = kWindow * kWindow;
constexpr double kC1 = (0.01 * 255) * (0.01 * 255), kC2 = (0.03 * 255) * (0.03 * 255);

// Sums over a window of x, y, xx, yy, xy: exact in 32 bits (49 * 255^2 < 2^22).
using Sums = std::array<int32_t, 5>;

void accumulate(Sums& sums, const Sums& more, int32_t sign) {
  for (size_t i = 0; i < sums.size(); ++i) sums[i] += sign * more[i];
}

Sums products(int32_t x, int32_t y) {
  return {x, y, x * x, y * y, x * y};
}

// The index of one window.
double similarity(const Sums& s) {
  const double ux = s[0] / kPixels, uy = s[1] / kPixels;
  constexpr double sample = kPixels / (kPixels - 1);
  const double vx = sample * (s[2] / kPixels - ux * ux), vy = sample * (s[3] / kPixels - uy * uy);
  const double vxy = sample * (s[4] / kPixels - ux * uy);
  return ((2 * ux * uy + kC1) * (2 * vxy + kC2)) / ((ux * ux + uy * uy + kC1) * (vx + vy + kC2));
}

// Columns of seven rows slide down the picture, a window of seven columns along them.
double frame_ssim(const uint8_t* x, const uint8_t* y, int64_t height, int64_t width) {
  std::vector<Sums> columns(static_cast<size_t>(width));
  double total = 0;
  for (int64_t row = 0; row < height; ++row) {
    Sums window{};
    double of_row = 0;
    for (int64_t column = 0; column < width; ++column) {
      Sums& sums = columns[static_cast<size_t>(column)];
      const int64_t at = row * width + column, gone = at - kWindow * width;
      accumulate(sums, products(x[at], y[at]), 1);
      if (row >= kWindow) accumulate(sums, products(x[gone], y[gone]), -1);
      accumulate(window, sums, 1);
      if (column >= kWindow) accumulate(window, columns[static_cast<size_t>(column - kWindow)], -1);
      if (column >= kWindow - 1 && row >= kWindow - 1) of_row += similarity(window);
    }
    total += of_row;
  }
  return total / static_cast<double>((height - kWindow + 1) * (width - kWindow + 1));
}

}  // namespace

at::Tensor grey_of(const at::Tensor& rgb) {
  require(rgb.scalar_type() == at::kByte && rgb.dim() >= 3 && rgb.size(-1) == 3, "grey_of: ", rgb.dtype(),
          " ", rgb.sizes(), ", wanted uint8 [..., H, W, 3]");
  const at::Tensor source = rgb.contiguous();
  at::Tensor grey = at::empty(rgb.sizes().slice(0, static_cast<size_t>(rgb.dim() - 1)), at::kByte);
  const uint8_t* const in = source.const_data_ptr<uint8_t>();
  uint8_t* const out = grey.mutable_data_ptr<uint8_t>();
  constexpr int32_t kRed = 9798, kGreen = 19235, kBlue = 3735, kHalf = 1 << 14;  // sum of the weights: 2^15
  for (int64_t i = 0; i < grey.numel(); ++i)
    out[i] = static_cast<uint8_t>(
        (kRed * in[3 * i] + kGreen * in[3 * i + 1] + kBlue * in[3 * i + 2] + kHalf) >> 15);
  return grey;
}

at::Tensor ssim(const at::Tensor& frames, const at::Tensor& truth) {
  require(frames.scalar_type() == at::kByte && truth.scalar_type() == at::kByte, "ssim: ", frames.dtype(),
          " and ", truth.dtype(), ", wanted uint8");
  require(frames.device().is_cpu() && truth.device().is_cpu(), "ssim: frames on ", frames.device(), " and ",
          truth.device(), ", wanted cpu");
  require(frames.sizes() == truth.sizes() && frames.dim() == 3 && frames.numel() > 0,
          "ssim: ", frames.sizes(), " and ", truth.sizes(),
          ", wanted two equal [N,H,W] with something in them");
  const int64_t height = frames.size(1), width = frames.size(2);
  require(height >= kWindow && width >= kWindow, "ssim: frames of ", height, "x", width,
          ", wanted at least the window's 7x7");
  const at::Tensor a = frames.contiguous(), b = truth.contiguous();
  at::Tensor found = at::empty({frames.size(0)}, at::kDouble);
  const uint8_t *const x = a.const_data_ptr<uint8_t>(), *const y = b.const_data_ptr<uint8_t>();
  double* const out = found.mutable_data_ptr<double>();
  parallel_for(0, frames.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t offset = i * height * width;
      out[i] = frame_ssim(x + offset, y + offset, height, width);
    }
  });
  return found;
}

}  // namespace orrery
