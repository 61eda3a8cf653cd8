#include "data/bucket.h"

#include <array>
#include <charconv>
#include <cmath>

#include "base/error.h"

namespace orrery {
namespace {

// Sizes (height, width) by aspect ratio 1:1, 4:3, 3:4, 16:9, 9:16 (cosmos-predict2.5,
// predict2/datasets/utils.py; that file gives width first).
struct Table {
  std::string_view name;
  std::array<FrameSize, 5> sizes;
};
constexpr std::array<Table, 9> kTables = {{
    {"1080", {{{1024, 1024}, {1056, 1440}, {1440, 1056}, {1056, 1920}, {1920, 1056}}}},
    {"1024_video", {{{1024, 1024}, {1024, 1280}, {1280, 1024}, {768, 1280}, {1280, 768}}}},
    {"1024_image", {{{1024, 1024}, {880, 1168}, {1168, 880}, {768, 1360}, {1360, 768}}}},
    {"720", {{{960, 960}, {704, 960}, {960, 704}, {704, 1280}, {1280, 704}}}},
    {"720p", {{{960, 960}, {720, 960}, {960, 720}, {720, 1280}, {1280, 720}}}},
    {"512", {{{512, 512}, {512, 640}, {640, 512}, {384, 640}, {640, 384}}}},
    {"480", {{{480, 480}, {480, 640}, {640, 480}, {432, 768}, {768, 432}}}},
    {"480p", {{{640, 640}, {480, 640}, {640, 480}, {480, 832}, {832, 480}}}},
    {"256", {{{256, 256}, {256, 320}, {320, 256}, {192, 320}, {320, 192}}}},
}};

constexpr int64_t kMaxSide = 1 << 16;

bool parse_side(std::string_view text, int64_t& side) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), side);
  return error == std::errc() && end == text.data() + text.size() && side >= 1 && side <= kMaxSide;
}

}  // namespace

std::vector<FrameSize> parse_bucket(std::string_view text) {
  for (const Table& table : kTables)
    if (table.name == text) return {table.sizes.begin(), table.sizes.end()};
  const size_t cross = text.find('x');
  FrameSize size;
  if (cross != std::string_view::npos && parse_side(text.substr(0, cross), size.height) &&
      parse_side(text.substr(cross + 1), size.width))
    return {size};
  std::string names;
  for (const Table& table : kTables) names.append(names.empty() ? "" : ", ").append(table.name);
  fail("data.buckets: got '", text, "', wanted HEIGHTxWIDTH in pixels (such as 704x1280) or one of ", names);
}

std::vector<FrameSize> bucket_sizes(int64_t height, int64_t width, std::span<const std::string> buckets) {
  require(height >= 1 && width >= 1 && height <= kMaxSide && width <= kMaxSide,
          "data.height, data.width: got ", height, " x ", width, ", wanted 1 to ", kMaxSide);
  std::vector<FrameSize> sizes = {{height, width}};
  for (const std::string& text : buckets)
    for (const FrameSize& size : parse_bucket(text))
      if (std::find(sizes.begin(), sizes.end(), size) == sizes.end()) sizes.push_back(size);
  return sizes;
}

int64_t nearest_bucket(std::span<const FrameSize> sizes, int64_t height, int64_t width) {
  require(!sizes.empty() && height > 0 && width > 0, "bucket: ", sizes.size(), " sizes for a film of ",
          height, " x ", width);
  const auto distance = [&](const FrameSize& size) {
    const auto h = static_cast<double>(size.height), w = static_cast<double>(size.width);
    const auto film_h = static_cast<double>(height), film_w = static_cast<double>(width);
    return std::pair(std::abs(std::log(w * film_h / (h * film_w))),
                     std::abs(std::log(w * h / (film_w * film_h))));
  };
  int64_t best = 0;
  for (int64_t i = 1; i < static_cast<int64_t>(sizes.size()); ++i)
    if (distance(sizes[i]) < distance(sizes[best])) best = i;
  return best;
}

}  // namespace orrery
