#pragma once
// XXH3 digests (github.com/Cyan4973/xxHash, 64 bits) of checkpoint data and manifests. They find damage; they
// are no protection against somebody who wants to forge a file.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace orrery {

uint64_t digest_of(std::string_view bytes);

// Of bytes that come in parts.
class DigestStream {
 public:
  DigestStream();
  ~DigestStream();
  DigestStream(const DigestStream&) = delete;
  DigestStream& operator=(const DigestStream&) = delete;
  void add(std::string_view bytes);
  uint64_t value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Data are digested in blocks of this size (the last may be shorter), so that a reader of some rows verifies
// what it reads without reading the rest.
inline constexpr int64_t kDigestBlockBytes = int64_t{1} << 20;
inline int64_t num_digest_blocks(int64_t bytes) {
  return (bytes + kDigestBlockBytes - 1) / kDigestBlockBytes;
}

std::string hex_of(uint64_t digest);  // 16 digits
bool parse_hex(std::string_view text, uint64_t& digest);

}  // namespace orrery
