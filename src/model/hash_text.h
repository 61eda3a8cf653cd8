#pragma once
// A text encoder without weights: each word has a fixed random vector, and each place in the prompt another.
#include "model/text_encoder.h"

namespace orrery {

// Words are runs of ASCII letters, digits and bytes above 127; ASCII letters are lower-cased, the rest
// separates words. Token i is (vector of word i + vector of place i) / sqrt(2), of unit variance, and
// bit-equal on every machine. Tokens after the last word are zero; words after the last token are cut off. An
// empty prompt is all zero.
class HashText final : public TextEncoder {
 public:
  HashText(int64_t tokens, int64_t channels);  // 1 to 131072 each
  at::Tensor encode(const std::vector<std::string>& prompts) const override;
  bool holds(const std::vector<std::string>& /*prompts*/) const override { return true; }
  int64_t tokens() const override { return tokens_; }
  int64_t channels() const override { return channels_; }
  std::string identity() const override;

 private:
  int64_t tokens_, channels_;
};

}  // namespace orrery
