#include "media/resize.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>

#include <cmath>

#include "base/error.h"

namespace orrery {
namespace {

// Filters of torch's antialiased interpolate (upsample_{bilinear,bicubic}2d_aa): half width and shape.
float triangle(float x) {
  return std::max(0.f, 1.f - std::abs(x));
}
float cubic(float x) {  // Keys 1981 with a = -0.5
  constexpr float a = -0.5f;
  x = std::abs(x);
  if (x < 1.f) return ((a + 2.f) * x - (a + 3.f)) * x * x + 1.f;
  if (x < 2.f) return (((x - 5.f) * x + 8.f) * x - 4.f) * a;
  return 0.f;
}
struct Kernel {
  float radius;
  float (*shape)(float);
};
constexpr Kernel kBilinear{1.f, triangle}, kBicubic{2.f, cubic};

// Output sample i is the sum of weights[i * taps + j] * input[first[i] + j] over j < count[i].
struct Filter {
  int64_t taps = 0;
  std::vector<int64_t> first, count;
  std::vector<float> weights;
};

Filter make_filter(int64_t input, int64_t output, const Kernel& kernel) {
  const float scale = static_cast<float>(input) / static_cast<float>(output);
  const float stretch = std::max(scale, 1.f), support = kernel.radius * stretch;
  Filter filter;
  filter.taps = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
  filter.weights.assign(output * filter.taps, 0.f);
  for (int64_t i = 0; i < output; ++i) {
    const float centre = scale * (static_cast<float>(i) + 0.5f);
    const int64_t first = std::max<int64_t>(static_cast<int64_t>(centre - support + 0.5f), 0);
    const int64_t end = std::min<int64_t>(static_cast<int64_t>(centre + support + 0.5f), input);
    const int64_t count = std::clamp<int64_t>(end - first, 0, filter.taps);
    float* weights = filter.weights.data() + i * filter.taps;
    float total = 0.f;
    for (int64_t j = 0; j < count; ++j)
      total += weights[j] = kernel.shape((static_cast<float>(first + j) - centre + 0.5f) * (1.f / stretch));
    for (int64_t j = 0; j < count && total != 0.f; ++j) weights[j] /= total;
    filter.first.push_back(first);
    filter.count.push_back(count);
  }
  return filter;
}

// One row of width x 3 bytes, each byte looked up in `value`, to filter.first.size() x 3 floats.
void filter_row(const uint8_t* row, const Filter& filter, const std::array<float, 256>& value, float* out) {
  const int64_t width = static_cast<int64_t>(filter.first.size());
  for (int64_t x = 0; x < width; ++x) {
    const float* weights = filter.weights.data() + x * filter.taps;
    const uint8_t* pixel = row + filter.first[x] * 3;
    float r = 0.f, g = 0.f, b = 0.f;
    for (int64_t j = 0; j < filter.count[x]; ++j, pixel += 3) {
      r += weights[j] * value[pixel[0]];
      g += weights[j] * value[pixel[1]];
      b += weights[j] * value[pixel[2]];
    }
    out[3 * x] = r, out[3 * x + 1] = g, out[3 * x + 2] = b;
  }
}

enum class Rounding { truncate_unit, half_even };  // values as v/255 and cut off; values as v and rounded

// frames: uint8 [F,H,W,3], contiguous -> uint8 [F,height,width,3]. Width first, then height, as torch does.
at::Tensor resample(const at::Tensor& frames, int64_t height, int64_t width, const Kernel& kernel,
                    Rounding rounding) {
  const int64_t count = frames.size(0), in_height = frames.size(1), in_width = frames.size(2),
                row = width * 3;
  const Filter across = make_filter(in_width, width, kernel), down = make_filter(in_height, height, kernel);
  const bool unit = rounding == Rounding::truncate_unit;
  std::array<float, 256> value;
  for (int v = 0; v < 256; ++v) value[v] = unit ? static_cast<float>(v) / 255.f : static_cast<float>(v);
  at::Tensor result = at::empty({count, height, width, 3}, at::kByte);
  std::vector<float> narrow(in_height * row), sum(row);
  for (int64_t f = 0; f < count; ++f) {
    const uint8_t* in = frames.const_data_ptr<uint8_t>() + f * in_height * in_width * 3;
    uint8_t* out = result.mutable_data_ptr<uint8_t>() + f * height * row;
    for (int64_t y = 0; y < in_height; ++y)
      filter_row(in + y * in_width * 3, across, value, narrow.data() + y * row);
    for (int64_t y = 0; y < height; ++y, out += row) {
      std::fill(sum.begin(), sum.end(), 0.f);
      for (int64_t j = 0; j < down.count[y]; ++j) {
        const float weight = down.weights[y * down.taps + j];
        const float* from = narrow.data() + (down.first[y] + j) * row;
        for (int64_t x = 0; x < row; ++x) sum[x] += weight * from[x];
      }
      for (int64_t x = 0; x < row; ++x) {
        const float v = std::clamp(unit ? sum[x] * 255.f : std::nearbyintf(sum[x]), 0.f, 255.f);
        out[x] = static_cast<uint8_t>(v);
      }
    }
  }
  return result;
}

at::Tensor checked(const at::Tensor& frames, int64_t height, int64_t width) {
  require(frames.dim() == 4 && frames.size(3) == 3 && frames.scalar_type() == at::kByte && frames.is_cpu(),
          "resize: frames are ", frames.scalar_type(), " ", frames.sizes(),
          ", wanted uint8 [F,H,W,3] on the CPU");
  require(frames.size(1) > 0 && frames.size(2) > 0, "resize: empty frames ", frames.sizes());
  require(height > 0 && width > 0 && height <= 1 << 16 && width <= 1 << 16, "resize: to ", height, "x",
          width);
  return frames.contiguous();
}

// Python's round() of half an integer: ties to the even one.
int64_t half_to_even(int64_t twice) {
  return static_cast<int64_t>(std::nearbyint(static_cast<double>(twice) / 2));
}

// Index of the source pixel that border pixel i (may be negative or >= size) shows.
int64_t border_source(int64_t i, int64_t size, bool mirror) {
  if (!mirror) return std::clamp<int64_t>(i, 0, size - 1);
  if (i < 0) return -i;  // the edge pixel itself is not repeated
  return i < size ? i : 2 * (size - 1) - i;
}

}  // namespace

at::Tensor resize_stretch(const at::Tensor& frames, int64_t height, int64_t width) {
  const at::Tensor pixels = checked(frames, height, width);
  if (pixels.size(1) == height && pixels.size(2) == width) return pixels;
  return resample(pixels, height, width, kBilinear, Rounding::truncate_unit);
}

at::Tensor resize_cover_crop(const at::Tensor& frames, int64_t height, int64_t width) {
  at::Tensor pixels = checked(frames, height, width);
  const double scale = std::max(static_cast<double>(width) / static_cast<double>(pixels.size(2)),
                                static_cast<double>(height) / static_cast<double>(pixels.size(1)));
  const auto cover_height = static_cast<int64_t>(std::ceil(scale * static_cast<double>(pixels.size(1))));
  const auto cover_width = static_cast<int64_t>(std::ceil(scale * static_cast<double>(pixels.size(2))));
  if (cover_height != pixels.size(1) || cover_width != pixels.size(2))
    pixels = resample(pixels, cover_height, cover_width, kBilinear, Rounding::half_even);
  const int64_t top = half_to_even(cover_height - height), left = half_to_even(cover_width - width);
  return pixels.narrow(1, top, height).narrow(2, left, width).contiguous();
}

Padded resize_fit_pad(const at::Tensor& frames, int64_t height, int64_t width) {
  at::Tensor pixels = checked(frames, height, width);
  const double ratio = std::min(static_cast<double>(width) / static_cast<double>(pixels.size(2)),
                                static_cast<double>(height) / static_cast<double>(pixels.size(1)));
  const auto scaled = [&](int64_t size, int64_t limit) {
    return std::clamp<int64_t>(static_cast<int64_t>(ratio * static_cast<double>(size) + 0.5), 1, limit);
  };
  const int64_t fit_height = scaled(pixels.size(1), height), fit_width = scaled(pixels.size(2), width);
  if (fit_height != pixels.size(1) || fit_width != pixels.size(2))
    pixels = resample(pixels, fit_height, fit_width, kBicubic, Rounding::half_even);
  const int64_t top = (height - fit_height) / 2, left = (width - fit_width) / 2;
  const int64_t bottom = height - fit_height - top, right = width - fit_width - left;
  const bool mirror = std::max(top, bottom) < fit_height && std::max(left, right) < fit_width;

  Padded result;
  result.resized_height = fit_height;
  result.resized_width = fit_width;
  result.frames = at::empty({pixels.size(0), height, width, 3}, at::kByte);
  result.padding_mask = at::ones({height, width}, at::kFloat);
  result.padding_mask.narrow(0, top, fit_height).narrow(1, left, fit_width).zero_();
  const uint8_t* in = pixels.const_data_ptr<uint8_t>();
  uint8_t* out = result.frames.mutable_data_ptr<uint8_t>();
  for (int64_t f = 0; f < pixels.size(0); ++f, in += fit_height * fit_width * 3)
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < width; ++x, out += 3) {
        const int64_t row = border_source(y - top, fit_height, mirror);
        const int64_t column = border_source(x - left, fit_width, mirror);
        std::copy_n(in + (row * fit_width + column) * 3, 3, out);
      }
  return result;
}

}  // namespace orrery
