#pragma once
// Shape buckets: films of different aspect ratios go to different training shapes, and every batch has one
// shape. Called by the data sets.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace orrery {

struct FrameSize {
  int64_t height = 0, width = 0;
  bool operator==(const FrameSize&) const = default;
};

// "HEIGHTxWIDTH", or the name of a resolution table of Cosmos-Predict2.5, which gives its five aspect ratios
// 1:1, 4:3, 3:4, 16:9, 9:16: 1080, 1024_video, 1024_image, 720, 720p, 512, 480, 480p, 256. Throws Error for
// anything else.
std::vector<FrameSize> parse_bucket(std::string_view text);

// (height, width) first, then what the texts add, without repetitions.
std::vector<FrameSize> bucket_sizes(int64_t height, int64_t width, std::span<const std::string> buckets);

// Index of the size whose aspect ratio is nearest to height x width (difference of logarithms); of sizes with
// the same ratio the one of the nearest area; of equal ones the first.
int64_t nearest_bucket(std::span<const FrameSize> sizes, int64_t height, int64_t width);

}  // namespace orrery
