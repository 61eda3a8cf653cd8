#include "data/caption.h"

#include <fstream>

#include "base/error.h"

namespace orrery {
namespace {
constexpr int64_t kMaxBytes = int64_t{1} << 20;
constexpr std::string_view kSpace = " \t\r\n\v\f";
}  // namespace

bool is_utf8(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  for (size_t i = 0; i < text.size();) {
    const unsigned lead = byte(i), second = byte(i + 1);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const size_t length = lead >= 0xC2 && lead <= 0xDF ? 2 : lead >= 0xE0 && lead <= 0xEF ? 3 : 4;
    if (lead < 0xC2 || lead > 0xF4) return false;
    const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (second < low || second > high) return false;
    for (size_t k = 2; k < length; ++k)
      if (byte(i + k) < 0x80 || byte(i + k) > 0xBF) return false;
    i += length;
  }
  return true;
}

std::string read_caption(const std::filesystem::path& path) {
  std::error_code error;
  const uintmax_t bytes = std::filesystem::file_size(path, error);
  require(!error, path.string(), ": no caption (", error.message(),
          "); a film needs one, an empty file is an empty caption");
  require(bytes <= kMaxBytes, path.string(), ": caption of ", bytes, " bytes, at most ", kMaxBytes);
  std::ifstream in(path, std::ios::binary);
  std::string text(bytes, '\0');
  in.read(text.data(), static_cast<std::streamsize>(bytes));
  require(in.good() && in.gcount() == static_cast<std::streamsize>(bytes), path.string(),
          ": the caption cannot be read");
  require(is_utf8(text), path.string(), ": the caption is not UTF-8");
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

}  // namespace orrery
