#include <cctype>

#include "media/decode.h"

namespace orrery {
namespace {
bool ends_with_one_of(const std::filesystem::path& path, std::initializer_list<std::string_view> endings) {
  std::string ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return std::find(endings.begin(), endings.end(), ending) != endings.end();
}
}  // namespace

bool has_video_extension(const std::filesystem::path& path) {
  return ends_with_one_of(path,
                          {".mp4", ".mov", ".webm", ".avi", ".mpg", ".mpeg", ".ogv", ".mkv", ".m4v", ".ts"});
}

bool has_image_extension(const std::filesystem::path& path) {
  return ends_with_one_of(path, {".png", ".jpg", ".jpeg", ".webp"});
}

}  // namespace orrery
