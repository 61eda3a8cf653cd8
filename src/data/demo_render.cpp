#include "data/demo_render.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace orrery {
namespace {

struct Rgb {
  float r, g, b;
};
Rgb operator*(Rgb a, float k) {
  return {a.r * k, a.g * k, a.b * k};
}
Rgb mix(Rgb a, Rgb b, float t) {
  return {a.r + t * (b.r - a.r), a.g + t * (b.g - a.g), a.b + t * (b.b - a.b)};
}

// Tints have little colour of their own, so that the block can be found by its colour.
constexpr std::array<Rgb, 5> kTables = {
    {{198, 182, 162}, {168, 176, 186}, {214, 208, 200}, {142, 130, 118}, {176, 186, 174}}};
constexpr std::array<Rgb, 4> kWalls = {{{232, 234, 238}, {240, 236, 228}, {222, 228, 232}, {234, 228, 230}}};
constexpr Rgb kMetal{126, 133, 146}, kMetalLight{196, 202, 212}, kDark{72, 77, 88}, kSilver{226, 230, 235};
constexpr double kTableFar = kDemoTable + 0.13, kTableNear = kDemoTable - 0.12;

struct Box {
  double x0, y0, x1, y1;
};
struct Sample {
  double distance;  // to the shape's edge, negative inside
  Rgb color;
};

double box_distance(double x, double y, const Box& box, double radius) {
  const double dx = std::abs(x - (box.x0 + box.x1) / 2) - (box.x1 - box.x0) / 2 + radius;
  const double dy = std::abs(y - (box.y0 + box.y1) / 2) - (box.y1 - box.y0) / 2 + radius;
  return std::hypot(std::max(dx, 0.0), std::max(dy, 0.0)) + std::min(std::max(dx, dy), 0.0) - radius;
}

class Canvas {
 public:
  Canvas(int64_t height, int64_t width)
      : height_(height), width_(width), unit_(std::min(height, width) / 2.0), pixels_(height * width) {}

  // Lays a shape over the picture. distance(x, y) to its edge in scene units, color(x, y) of its points; box
  // holds it.
  template <class Distance, class Color>
  void shape(const Box& box, const Distance& distance, const Color& color) {
    each_pixel(box, [&](double x, double y, Rgb& pixel) {
      const float share = coverage(x, y, distance);
      if (share > 0) pixel = mix(pixel, color(x, y), share);
    });
  }

  // Darkens an ellipse with soft edges: strength in its middle.
  void shadow(DemoPoint middle, double rx, double ry, float strength) {
    each_pixel({middle.x - 2.5 * rx, middle.y - 2.5 * ry, middle.x + 2.5 * rx, middle.y + 2.5 * ry},
               [&](double x, double y, Rgb& pixel) {
                 const double u = (x - middle.x) / rx, v = (y - middle.y) / ry;
                 pixel = pixel * (1 - strength * static_cast<float>(std::exp(-(u * u + v * v))));
               });
  }

  Box bounds() const {
    return {-width_ / 2.0 / unit_, -height_ / 2.0 / unit_, width_ / 2.0 / unit_, height_ / 2.0 / unit_};
  }

  void copy_to(uint8_t* out) const {
    for (const Rgb& pixel : pixels_)
      for (const float value : {pixel.r, pixel.g, pixel.b})
        *out++ = static_cast<uint8_t>(std::lround(std::clamp(value, 0.f, 255.f)));
  }

 private:
  template <class Paint>
  void each_pixel(const Box& box, const Paint& paint) {
    const auto clip = [](double value, int64_t size) {
      return static_cast<int64_t>(std::clamp(std::floor(value), 0.0, static_cast<double>(size - 1)));
    };
    const double cx = width_ / 2.0, cy = height_ / 2.0;
    const int64_t left = clip(cx + box.x0 * unit_ - 1, width_), right = clip(cx + box.x1 * unit_ + 1, width_);
    const int64_t top = clip(cy - box.y1 * unit_ - 1, height_),
                  bottom = clip(cy - box.y0 * unit_ + 1, height_);
    for (int64_t row = top; row <= bottom; ++row)
      for (int64_t column = left; column <= right; ++column)
        paint((column + 0.5 - cx) / unit_, (cy - row - 0.5) / unit_, pixels_[row * width_ + column]);
  }

  template <class Distance>
  float coverage(double x, double y, const Distance& distance) const {
    constexpr int samples = 4;
    const double middle = distance(x, y) * unit_;
    if (std::abs(middle) > 0.75) return middle < 0;  // further than half a pixel's diagonal
    int inside = 0;
    for (int i = 0; i < samples; ++i)
      for (int j = 0; j < samples; ++j) {
        const double dx = (i + 0.5) / samples - 0.5, dy = (j + 0.5) / samples - 0.5;
        inside += distance(x + dx / unit_, y + dy / unit_) < 0;
      }
    return static_cast<float>(inside) / (samples * samples);
  }

  int64_t height_, width_;
  double unit_;  // pixels
  std::vector<Rgb> pixels_;
};

template <class Color>
void rounded_box(Canvas& canvas, const Box& box, double radius, const Color& color) {
  canvas.shape(
      box, [&](double x, double y) { return box_distance(x, y, box, radius); }, color);
}

void disc(Canvas& canvas, DemoPoint middle, double radius, Rgb light, Rgb dark) {
  canvas.shape(
      {middle.x - radius, middle.y - radius, middle.x + radius, middle.y + radius},
      [&](double x, double y) { return std::hypot(x - middle.x, y - middle.y) - radius; },
      [&](double x, double y) {
        const double up = (y - middle.y - (x - middle.x)) / radius;
        return mix(dark, light, static_cast<float>(std::clamp(0.5 + 0.5 * up, 0.0, 1.0)));
      });
}

// A link: a rounded bar that tapers from one joint to the next, lit from the upper left.
void link(Canvas& canvas, DemoPoint from, DemoPoint to, double wide, double narrow) {
  const double dx = to.x - from.x, dy = to.y - from.y, length = std::hypot(dx, dy);
  const double ux = dx / length, uy = dy / length;
  const auto across = [&](double x, double y) { return -uy * (x - from.x) + ux * (y - from.y); };
  const auto radius = [&](double x, double y) {
    const double t = std::clamp((ux * (x - from.x) + uy * (y - from.y)) / length, 0.0, 1.0);
    return wide + t * (narrow - wide);
  };
  const auto distance = [&](double x, double y) {
    const double t = std::clamp(ux * (x - from.x) + uy * (y - from.y), 0.0, length);
    return std::hypot(x - from.x - t * ux, y - from.y - t * uy) - radius(x, y);
  };
  const double lit = (-uy * -0.6 + ux * 0.8);  // how far the bar's left side faces the light
  const auto color = [&](double x, double y) {
    const double side = across(x, y) / radius(x, y) * lit;
    return mix(kMetal * 0.8f, kMetalLight, static_cast<float>(std::clamp(0.25 + 0.6 * side, 0.0, 1.0)));
  };
  canvas.shape({std::min(from.x, to.x) - wide, std::min(from.y, to.y) - wide, std::max(from.x, to.x) + wide,
                std::max(from.y, to.y) + wide},
               distance, color);
}

void joint(Canvas& canvas, DemoPoint middle, double radius) {
  disc(canvas, middle, radius, kSilver, kMetalLight);
  disc(canvas, middle, radius * 0.5, kMetal, kDark);
}

void room(Canvas& canvas, const DemoScene& scene) {
  const auto tint = [](const auto& tints, int64_t i) {
    return tints[static_cast<uint64_t>(i) % tints.size()];
  };
  const Rgb wall = tint(kWalls, scene.wall), table = tint(kTables, scene.table);
  const Box all = canvas.bounds();
  const auto everywhere = [](double, double) { return -1.0; };
  canvas.shape(all, everywhere, [&](double x, double y) {
    return wall * static_cast<float>(0.94 + 0.06 * std::clamp(y, -1.0, 1.0) - 0.04 * x * x);
  });
  const auto below = [](double height) { return [height](double, double y) { return y - height; }; };
  canvas.shape({all.x0, all.y0, all.x1, kTableFar}, below(kTableFar),
               [&](double, double y) { return table * static_cast<float>(1.0 - 0.35 * (kTableFar - y)); });
  canvas.shape({all.x0, all.y0, all.x1, kTableNear}, below(kTableNear),
               [&](double, double y) { return table * static_cast<float>(0.70 - 0.35 * (kTableNear - y)); });
  canvas.shape(
      {all.x0, kTableNear - 0.01, all.x1, kTableNear + 0.02},
      [](double, double y) { return std::abs(y - kTableNear) - 0.012; },
      [&](double, double) {
        return mix(table, {255, 255, 255}, 0.35f);
      });
}

void block(Canvas& canvas, const DemoScene& scene, const DemoState& state) {
  const auto [r, g, b] = demo_colors()[scene.color].rgb;
  const Rgb color{static_cast<float>(r), static_cast<float>(g), static_cast<float>(b)};
  const double half = scene.block_half, depth = 0.07;
  const Box front{state.x - half, state.y - half, state.x + half, state.y + half - depth};
  rounded_box(canvas, {front.x0, front.y0, front.x1, front.y1 + depth}, 0.035, [&](double, double) {
    return mix(color, {255, 255, 255}, 0.22f);
  });
  rounded_box(canvas, front, 0.03, [&](double x, double y) {
    const double u = (x - state.x) / half, v = (y - state.y) / half;
    return color * static_cast<float>(0.97 + 0.05 * v - 0.05 * u);
  });
}

void shadows(Canvas& canvas, const DemoScene& scene, const DemoState& state) {
  const double height = state.y - scene.block_half - kDemoTable, spread = 1 + height;
  canvas.shadow({state.x + 0.04, kDemoTable - 0.01}, scene.block_half * 1.05 * spread, 0.045 * spread,
                static_cast<float>(0.55 / (1 + 4 * height)));
  const DemoArm arm = demo_arm(state);
  const double tip = arm.tip.y - kDemoTable;
  canvas.shadow({arm.tip.x + 0.03, kDemoTable}, state.gap + 0.14, 0.035 * (1 + tip),
                static_cast<float>(0.35 / (1 + 3 * tip)));
}

void hand(Canvas& canvas, const DemoState& state, const DemoArm& arm) {
  const double palm_y = arm.wrist.y - kDemoPalm, wide = state.gap + kDemoFinger;
  const auto steel = [&](double x, double) {
    return mix(kMetalLight, kMetal, static_cast<float>(std::clamp(0.5 + (x - arm.tip.x), 0.0, 1.0)));
  };
  const auto dark = [](double, double) { return kDark; };
  for (const int side : {-1, 1}) {
    const double inner = arm.tip.x + side * state.gap, outer = inner + side * kDemoFinger;
    const Box finger{std::min(inner, outer), arm.tip.y, std::max(inner, outer), palm_y + 0.06};
    rounded_box(canvas, finger, 0.025, steel);
    rounded_box(canvas, {finger.x0, finger.y0, finger.x1, finger.y0 + 0.10}, 0.025, dark);
  }
  rounded_box(canvas, {arm.tip.x - wide, palm_y, arm.tip.x + wide, palm_y + 0.09}, 0.03,
              [](double, double) { return kMetal; });
  rounded_box(canvas, {arm.tip.x - 0.075, palm_y + 0.02, arm.tip.x + 0.075, arm.wrist.y}, 0.03, steel);
}

void arm(Canvas& canvas, const DemoState& state) {
  const DemoArm arm = demo_arm(state);
  rounded_box(canvas, {-0.22, kDemoShoulderY - 0.02, 0.22, 1.2}, 0.05, [](double, double) { return kDark; });
  hand(canvas, state, arm);
  link(canvas, arm.shoulder, arm.elbow, 0.085, 0.07);
  link(canvas, arm.elbow, arm.wrist, 0.07, 0.055);
  joint(canvas, arm.shoulder, 0.115);
  joint(canvas, arm.elbow, 0.095);
  joint(canvas, arm.wrist, 0.075);
}

}  // namespace

at::Tensor render_demo(const DemoScene& scene, std::span<const DemoState> states, int64_t height,
                       int64_t width) {
  require(height >= 16 && width >= 16 && height <= 4096 && width <= 4096, "render_demo: picture of ", height,
          " x ", width, ", wanted 16 to 4096");
  require(scene.color >= 0 && scene.color < std::ssize(demo_colors()), "render_demo: colour ", scene.color);
  const at::Tensor film = at::empty({std::ssize(states), height, width, 3}, at::kByte);
  Canvas empty(height, width);
  room(empty, scene);
  uint8_t* out = film.mutable_data_ptr<uint8_t>();
  for (const DemoState& state : states) {
    Canvas canvas = empty;
    shadows(canvas, scene, state);
    block(canvas, scene, state);
    arm(canvas, state);
    canvas.copy_to(out);
    out += height * width * 3;
  }
  return film;
}

}  // namespace orrery
