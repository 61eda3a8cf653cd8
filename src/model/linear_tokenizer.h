#pragma once
// A tokenizer without learnt weights: principal components of causal space-time blocks of 4 frames x 8 x 8
// pixels x 3 colours (768 numbers). The first frame stands alone; it is taken four times, so that one basis
// serves all latents. Kept whole, it is exactly invertible.
#include <map>
#include <string>

#include "model/tokenizer.h"

namespace orrery {

class LinearTokenizer final : public VideoTokenizer {
 public:
  static constexpr int64_t kBlock = 3 * 4 * 8 * 8;

  // What defines the latents; saved with the run. Channel c of the latents is its coefficient divided by
  // k std_c^exponent, with the one k for which the mean variance over channels is 1. At exponent 0 squared
  // errors of latents weigh as squared errors of pixels do; at 1 every channel has unit variance.
  struct Basis {
    at::Tensor vectors;  // float32 [768, C], orthonormal columns, most variance first; rows are (colour,
                         // frame, y, x)
    at::Tensor mean;     // float32 [768], grey levels
    at::Tensor std;      // float32 [C], of the coefficients over the fitted films, grey levels
    double exponent = 0;
  };
  explicit LinearTokenizer(Basis basis);  // throws unless shapes, dtypes, orthonormality and values are sound

  at::Tensor encode(const at::Tensor& video) const override;
  at::Tensor decode(const at::Tensor& latents) const override;
  int64_t channels() const override { return basis_.vectors.size(1); }
  int64_t temporal_factor() const override { return 4; }
  int64_t spatial_factor() const override { return 8; }

  const Basis& basis() const { return basis_; }
  LinearTokenizer to(at::Device device) const;  // films and latents must be on the tokenizer's device

  // Named tensors for a checkpoint, and back; from_tensors checks them as the constructor does.
  std::map<std::string, at::Tensor> tensors() const;
  static LinearTokenizer from_tensors(const std::map<std::string, at::Tensor>& tensors);

 private:
  Basis basis_;
  at::Tensor scale_;  // float32 [C]: k std_c^exponent
};

// Fits the basis to films that pass by one after the other; holds 768 x 768 numbers, not the films. The sums
// are exact integers, so neither the order of films nor the number of threads changes them.
class LinearTokenizerFit {
 public:
  LinearTokenizerFit();
  void add(const at::Tensor& video);  // uint8 [B,3,F,H,W] as encode takes it, on the CPU
  // channels: components to keep, 1 to 768. Throws when no film was added.
  LinearTokenizer finish(int64_t channels, double exponent) const;

  // Sums over blocks of (value - 128), its products, and 1: float64 [768], [768, 768], [1]. All ranks' fits
  // add up.
  at::Tensor sum, products, count;
};

}  // namespace orrery
