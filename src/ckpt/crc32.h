#pragma once
// CRC-32 as zip and gzip use it (polynomial 0xEDB88320, reflected), eight bytes a step: 2 GB/s, so that
// writing a checkpoint waits for the disk.
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace orrery {

// Table k gives the CRC of a byte that k more bytes follow.
constexpr std::array<std::array<uint32_t, 256>, 8> crc32_tables() {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < 8; ++k)
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t before = tables[k - 1][byte];
      tables[k][byte] = before >> 8 ^ tables[0][before & 0xff];
    }
  return tables;
}

// `before`: of the bytes in front of these.
inline uint32_t crc32(std::string_view bytes, uint32_t before = 0) {
  static_assert(std::endian::native == std::endian::little);
  static constexpr auto kTables = crc32_tables();
  uint32_t crc = ~before;
  const char* next = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; next += 8, left -= 8) {
    uint64_t word = 0;
    std::memcpy(&word, next, 8);
    word ^= crc;
    crc = 0;
    for (size_t k = 0; k < 8; ++k) crc ^= kTables[7 - k][word >> 8 * k & 0xff];
  }
  for (; left > 0; ++next, --left)
    crc = crc >> 8 ^ kTables[0][(crc ^ static_cast<unsigned char>(*next)) & 0xff];
  return ~crc;
}

}  // namespace orrery
