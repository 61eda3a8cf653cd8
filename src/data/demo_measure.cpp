#include "data/demo_measure.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace orrery {
namespace {

constexpr double kMinDistance = 0.2;              // in scene units: a tenth of the shorter side
constexpr double kMinMass = 0.3, kMaxMass = 2.0;  // of the first frame's area
constexpr double kMinArea = 0.02;                 // of the first frame: a block has 0.14 or more

using Chroma = std::array<double, 3>;

Chroma chroma_of(const uint8_t* rgb) {
  const double grey = (rgb[0] + rgb[1] + rgb[2]) / 3.0;
  return {rgb[0] - grey, rgb[1] - grey, rgb[2] - grey};
}

double dot(const Chroma& a, const Chroma& b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

// 0 for greys and other hues, 1 for the colour, in between for a blurred edge. The thresholds lie above the
// tints of walls and tables (at most 0.2 of any block's colour) and below the block's light upper side
// (0.75).
double likeness(const Chroma& pixel, const Chroma& target) {
  const double norm = dot(target, target), along = dot(pixel, target) / norm;
  const double across = std::sqrt(std::max(0.0, dot(pixel, pixel) / norm - along * along));
  if (across > 0.5 * along) return 0;
  return std::clamp((along - 0.35) / 0.3, 0.0, 1.0);
}

}  // namespace

ColorBlob find_color(const at::Tensor& picture, int64_t color) {
  require(
      picture.dim() == 3 && picture.size(2) == 3 && picture.scalar_type() == at::kByte && picture.is_cpu(),
      "find_color: picture ", picture.sizes(), " ", picture.dtype(), ", wanted uint8 [H,W,3] on the CPU");
  require(color >= 0 && color < std::ssize(demo_colors()), "find_color: colour ", color);
  const Chroma target = chroma_of(demo_colors()[color].rgb.data());
  const at::Tensor pixels = picture.contiguous();
  const uint8_t* rgb = pixels.const_data_ptr<uint8_t>();
  const int64_t height = pixels.size(0), width = pixels.size(1);
  const double unit = std::min(height, width) / 2.0;
  ColorBlob blob;
  for (int64_t row = 0; row < height; ++row)
    for (int64_t column = 0; column < width; ++column, rgb += 3) {
      const double weight = likeness(chroma_of(rgb), target);
      blob.mass += weight;
      blob.x += weight * (column + 0.5 - width / 2.0) / unit;
      blob.y += weight * (height / 2.0 - row - 0.5) / unit;
    }
  if (blob.mass == 0) return {};
  return {blob.x / blob.mass, blob.y / blob.mass, blob.mass / (unit * unit)};
}

DemoVerdict judge_demo(const at::Tensor& film, const DemoTask& task) {
  require(film.dim() == 4 && film.size(0) >= 2, "judge_demo: film ", film.sizes(),
          ", wanted [F,H,W,3] with F >= 2");
  const ColorBlob first = find_color(film[0], task.color),
                  last = find_color(film[film.size(0) - 1], task.color);
  if (first.mass < kMinArea || last.mass == 0) return {};
  DemoVerdict verdict{false, last.x - first.x, last.y - first.y, last.mass / first.mass};
  const bool lift = task.verb == DemoVerb::lift;
  const double along = lift ? verdict.dy : task.verb == DemoVerb::push_left ? -verdict.dx : verdict.dx;
  const double across = std::abs(lift ? verdict.dx : verdict.dy);
  verdict.obeyed =
      along >= kMinDistance && along > across && verdict.mass >= kMinMass && verdict.mass <= kMaxMass;
  return verdict;
}

}  // namespace orrery
