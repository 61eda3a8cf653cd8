#pragma once
// SHA-256 (FIPS 180-4) of a short text, for constants whose digest is published.
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string>

namespace orrery::test {

// The first 32 bits of the fractional part of x.
inline uint32_t fraction_bits(long double x) {
  return static_cast<uint32_t>(static_cast<uint64_t>((x - std::floor(x)) * 4294967296.0L));
}

struct Sha256Tables {
  std::array<uint32_t, 64> k{};
  std::array<uint32_t, 8> start{};
  Sha256Tables() {
    size_t n = 0;
    for (int p = 2; n < 64; ++p) {
      bool prime = true;
      for (int d = 2; d * d <= p; ++d) prime = prime && p % d != 0;
      if (!prime) continue;
      if (n < 8) start[n] = fraction_bits(std::sqrt(static_cast<long double>(p)));
      k[n++] = fraction_bits(std::cbrt(static_cast<long double>(p)));
    }
  }
};

inline void sha256_block(std::array<uint32_t, 8>& h, const unsigned char* block,
                         const std::array<uint32_t, 64>& k) {
  std::array<uint32_t, 64> w{};
  for (size_t i = 0; i < 16; ++i)
    for (size_t b = 0; b < 4; ++b) w[i] = w[i] << 8 | block[4 * i + b];
  for (size_t i = 16; i < 64; ++i)
    w[i] = w[i - 16] + w[i - 7] + (std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ w[i - 15] >> 3) +
           (std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ w[i - 2] >> 10);
  auto v = h;
  for (size_t i = 0; i < 64; ++i) {
    const uint32_t t1 = v[7] + (std::rotr(v[4], 6) ^ std::rotr(v[4], 11) ^ std::rotr(v[4], 25)) +
                        ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
    const uint32_t t2 = (std::rotr(v[0], 2) ^ std::rotr(v[0], 13) ^ std::rotr(v[0], 22)) +
                        ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
    v = {t1 + t2, v[0], v[1], v[2], v[3] + t1, v[4], v[5], v[6]};
  }
  for (size_t i = 0; i < 8; ++i) h[i] += v[i];
}

inline std::string sha256(std::string text) {
  const Sha256Tables tables;
  const uint64_t bits = 8 * text.size();
  text += '\x80';
  while (text.size() % 64 != 56) text += '\0';
  for (int shift = 56; shift >= 0; shift -= 8) text += static_cast<char>(bits >> shift & 255);
  auto h = tables.start;
  for (size_t i = 0; i < text.size(); i += 64)
    sha256_block(h, reinterpret_cast<const unsigned char*>(text.data()) + i, tables.k);
  std::string hex;
  for (const uint32_t word : h)
    for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[word >> shift & 15];
  return hex;
}

}  // namespace orrery::test
