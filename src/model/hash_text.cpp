#include "model/hash_text.h"

#include <ATen/ops/zeros.h>

#include <numbers>

#include "base/error.h"
#include "base/rng.h"

namespace orrery {
namespace {

constexpr uint64_t kSeed = 0;         // part of the embedding's definition: trained models depend on it
constexpr int64_t kMaxSize = 131072;  // the released encoder's embedding has 100352 channels

// FNV-1a, 64 bits (Fowler, Noll, Vo).
uint64_t hash_of(std::string_view word) {
  uint64_t hash = 0xCBF29CE484222325ull;
  for (const unsigned char byte : word) hash = (hash ^ byte) * 0x100000001B3ull;
  return hash;
}

std::vector<std::string> words_of(std::string_view prompt) {
  std::vector<std::string> words(1);
  for (const char letter : prompt) {
    const auto byte = static_cast<unsigned char>(letter);
    const bool upper = byte >= 'A' && byte <= 'Z';
    if (upper || (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte > 127) {
      words.back() += static_cast<char>(upper ? byte - 'A' + 'a' : byte);
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

// Adds a uniform vector of variance 1/2. Integers and one product, no library function that could round
// differently on another machine.
void add_vector(float* row, int64_t channels, std::string_view purpose, uint64_t key) {
  Rng rng(kSeed, purpose, {key});
  const double scale = std::numbers::sqrt3 / std::numbers::sqrt2 * 0x1p-31;
  for (int64_t c = 0; c < channels; ++c) {
    const double centred = static_cast<double>(rng.next()) - 2147483647.5;
    row[c] += static_cast<float>(centred * scale);
  }
}

}  // namespace

HashText::HashText(int64_t tokens, int64_t channels) : tokens_(tokens), channels_(channels) {
  require(tokens >= 1 && tokens <= kMaxSize && channels >= 1 && channels <= kMaxSize, "hash text: ", tokens,
          " tokens of ", channels, " channels, wanted 1 to ", kMaxSize, " each (text.tokens, text.channels)");
}

std::string HashText::identity() const {
  return text_of("hash tokens ", tokens_, " channels ", channels_);
}

at::Tensor HashText::encode(const std::vector<std::string>& prompts) const {
  at::Tensor embedding = at::zeros({std::ssize(prompts), tokens_, channels_}, at::kFloat);
  float* prompt_row = embedding.mutable_data_ptr<float>();
  for (const std::string& prompt : prompts) {
    const auto words = words_of(prompt);
    for (int64_t i = 0; i < std::min(std::ssize(words), tokens_); ++i) {
      add_vector(prompt_row + i * channels_, channels_, "hash-text-word", hash_of(words[i]));
      add_vector(prompt_row + i * channels_, channels_, "hash-text-place", static_cast<uint64_t>(i));
    }
    prompt_row += tokens_ * channels_;
  }
  return embedding;
}

}  // namespace orrery
