#include "ckpt/digest.h"

#include <xxhash.h>

#include <charconv>
#include <new>

namespace orrery {

struct DigestStream::State {
  XXH3_state_t* xxh = XXH3_createState();
  ~State() { XXH3_freeState(xxh); }
};

uint64_t digest_of(std::string_view bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

DigestStream::DigestStream() : state_(std::make_unique<State>()) {
  if (state_->xxh == nullptr) throw std::bad_alloc();
  XXH3_64bits_reset(state_->xxh);
}
DigestStream::~DigestStream() = default;

void DigestStream::add(std::string_view bytes) {
  XXH3_64bits_update(state_->xxh, bytes.data(), bytes.size());
}

uint64_t DigestStream::value() const {
  return XXH3_64bits_digest(state_->xxh);
}

std::string hex_of(uint64_t digest) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text(16, '0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = kDigits[digest >> (60 - 4 * i) & 15];
  return text;
}

bool parse_hex(std::string_view text, uint64_t& digest) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), digest, 16);
  return text.size() == 16 && error == std::errc{} && end == text.data() + 16 && hex_of(digest) == text;
}

}  // namespace orrery
