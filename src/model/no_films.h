#pragma once
// Stand-ins of tokenizer and text encoder where batches are drawn already: plans and benchmarks.
#include "base/error.h"
#include "model/text_encoder.h"
#include "model/tokenizer.h"

namespace orrery {

class NoTokenizer final : public VideoTokenizer {
 public:
  at::Tensor encode(const at::Tensor&) const override { fail("tokenizer: there are no films here"); }
  at::Tensor decode(const at::Tensor&) const override { fail("tokenizer: there are no films here"); }
  int64_t channels() const override { return 0; }
  int64_t temporal_factor() const override { return 4; }
  int64_t spatial_factor() const override { return 8; }
};

class NoText final : public TextEncoder {
 public:
  at::Tensor encode(const std::vector<std::string>&) const override {
    fail("text: there are no prompts here");
  }
  int64_t tokens() const override { return 0; }
  int64_t channels() const override { return 0; }
  std::string identity() const override { return "none"; }
};

}  // namespace orrery
