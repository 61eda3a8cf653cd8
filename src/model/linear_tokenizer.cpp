#include "model/linear_tokenizer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/all.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "base/error.h"

namespace orrery {
namespace {

constexpr int64_t kFrames = 4, kSide = 8;
constexpr double kMinStd = 0.05;  // grey levels: a channel with less is scaled as if it had this much

// Film [B,3,F,H,W] to the blocks [B,T,h,w,768], same dtype; the first frame four times.
at::Tensor blocks_of(const at::Tensor& video) {
  const at::Tensor first = video.narrow(2, 0, 1).expand({-1, -1, kFrames, -1, -1});
  const at::Tensor padded = at::cat({first, video.narrow(2, 1, video.size(2) - 1)}, 2).contiguous();
  const int64_t batch = video.size(0), frames = padded.size(2) / kFrames;
  const int64_t rows = video.size(3) / kSide, columns = video.size(4) / kSide;
  return padded.view({batch, 3, frames, kFrames, rows, kSide, columns, kSide})
      .permute({0, 2, 4, 6, 1, 3, 5, 7})
      .reshape({batch, frames, rows, columns, LinearTokenizer::kBlock});
}

// The inverse, on floating-point blocks; the first frame is the mean of its four.
at::Tensor film_of(const at::Tensor& blocks) {
  const int64_t batch = blocks.size(0), frames = blocks.size(1), rows = blocks.size(2),
                columns = blocks.size(3);
  const at::Tensor film = blocks.view({batch, frames, rows, columns, 3, kFrames, kSide, kSide})
                              .permute({0, 4, 1, 5, 2, 6, 3, 7})
                              .reshape({batch, 3, frames * kFrames, rows * kSide, columns * kSide});
  const at::Tensor first = film.narrow(2, 0, kFrames).mean(2, true);
  return at::cat({first, film.narrow(2, kFrames, (frames - 1) * kFrames)}, 2);
}

void check_basis(const LinearTokenizer::Basis& b) {
  const int64_t block = LinearTokenizer::kBlock;
  require(b.vectors.defined() && b.mean.defined() && b.std.defined(),
          "linear tokenizer: a tensor is missing");
  require(b.vectors.dim() == 2 && b.vectors.size(0) == block && b.vectors.size(1) >= 1 &&
              b.vectors.size(1) <= block,
          "linear tokenizer: vectors ", b.vectors.sizes(), ", wanted [", block, ", 1 to ", block, "]");
  require(b.mean.dim() == 1 && b.mean.size(0) == block, "linear tokenizer: mean ", b.mean.sizes(),
          ", wanted [", block, "]");
  require(b.std.dim() == 1 && b.std.size(0) == b.vectors.size(1), "linear tokenizer: std ", b.std.sizes(),
          ", wanted [", b.vectors.size(1), "]");
  for (const at::Tensor& x : {b.vectors, b.mean, b.std}) {
    require(x.scalar_type() == at::kFloat, "linear tokenizer: ", x.dtype(), " tensor, wanted float32");
    require(x.device() == b.mean.device(), "linear tokenizer: tensors on several devices");
    require(x.isfinite().all().item<bool>(), "linear tokenizer: a value is not finite");
  }
  require(b.exponent >= 0 && b.exponent <= 1, "linear tokenizer: exponent ", b.exponent,
          ", wanted 0 (one scale for all channels) to 1 (unit variance of each)");
  require(b.std.min().item<float>() >= 0, "linear tokenizer: a standard deviation is negative");
  const at::Tensor gram = at::matmul(b.vectors.t(), b.vectors);
  const double error = (gram - at::eye(gram.size(0), gram.options())).abs().max().item<double>();
  require(error < 1e-3, "linear tokenizer: vectors are not orthonormal, off by ", error, " (damaged file?)");
}

at::Tensor scale_of(const LinearTokenizer::Basis& b) {
  const at::Tensor std = b.std.to(at::kDouble).clamp_min(kMinStd);
  const double k = std::sqrt(std.pow(2 - 2 * b.exponent).mean().item<double>());
  return (std.pow(b.exponent) * k).to(at::kFloat);
}

}  // namespace

LinearTokenizer::LinearTokenizer(Basis basis) : basis_(std::move(basis)) {
  check_basis(basis_);
  scale_ = scale_of(basis_);
}

at::Tensor LinearTokenizer::encode(const at::Tensor& video) const {
  check_video(video, temporal_factor(), spatial_factor());
  require(video.device() == scale_.device(), "linear tokenizer: video on ", video.device(), ", basis on ",
          scale_.device());
  const at::Tensor blocks = blocks_of(video).to(at::kFloat) - basis_.mean;
  return (at::matmul(blocks, basis_.vectors) / scale_).permute({0, 4, 1, 2, 3}).contiguous();
}

at::Tensor LinearTokenizer::decode(const at::Tensor& latents) const {
  check_latents(latents, channels());
  require(latents.device() == scale_.device(), "linear tokenizer: latents on ", latents.device(),
          ", basis on ", scale_.device());
  const at::Tensor coefficients = latents.to(at::kFloat).permute({0, 2, 3, 4, 1}) * scale_;
  const at::Tensor blocks = at::matmul(coefficients, basis_.vectors.t()) + basis_.mean;
  return film_of(blocks.contiguous()).round().clamp(0, 255).to(at::kByte);
}

LinearTokenizer LinearTokenizer::to(at::Device device) const {
  return LinearTokenizer(
      {basis_.vectors.to(device), basis_.mean.to(device), basis_.std.to(device), basis_.exponent});
}

std::map<std::string, at::Tensor> LinearTokenizer::tensors() const {
  return {{"vectors", basis_.vectors},
          {"mean", basis_.mean},
          {"std", basis_.std},
          {"exponent", at::scalar_tensor(basis_.exponent, at::kDouble)}};
}

LinearTokenizer LinearTokenizer::from_tensors(const std::map<std::string, at::Tensor>& tensors) {
  const auto get = [&tensors](const std::string& name) {
    const auto found = tensors.find(name);
    require(found != tensors.end() && found->second.defined(), "linear tokenizer: no tensor named ", name);
    return found->second;
  };
  const at::Tensor exponent = get("exponent");
  require(exponent.numel() == 1 && exponent.scalar_type() == at::kDouble, "linear tokenizer: exponent ",
          exponent.dtype(), " ", exponent.sizes(), ", wanted one float64");
  return LinearTokenizer({get("vectors"), get("mean"), get("std"), exponent.item<double>()});
}

LinearTokenizerFit::LinearTokenizerFit()
    : sum(at::zeros({LinearTokenizer::kBlock}, at::kDouble)),
      products(at::zeros({LinearTokenizer::kBlock, LinearTokenizer::kBlock}, at::kDouble)),
      count(at::zeros({1}, at::kDouble)) {}

void LinearTokenizerFit::add(const at::Tensor& video) {
  check_video(video, kFrames, kSide);
  require(video.is_cpu(), "linear tokenizer: fit to a film on ", video.device(), ", wanted the CPU");
  const at::Tensor blocks = blocks_of(video).view({-1, LinearTokenizer::kBlock});
  // |value - 128| <= 128: sums of products over 1024 rows reach at most 2^24 and are exact in float32.
  for (const at::Tensor& some : blocks.split(1024)) {
    const at::Tensor centred = some.to(at::kFloat) - 128;
    products += at::matmul(centred.t(), centred);
    sum += centred.sum(0);
  }
  count += blocks.size(0);
}

LinearTokenizer LinearTokenizerFit::finish(int64_t channels, double exponent) const {
  require(channels >= 1 && channels <= LinearTokenizer::kBlock, "linear tokenizer: ", channels,
          " channels, wanted 1 to ", LinearTokenizer::kBlock, " (tokenizer.channels)");
  require(count.item<double>() > 0, "linear tokenizer: fitted to no film");
  const at::Tensor mean = sum / count;
  const auto [variances, vectors] = at::linalg_eigh(products / count - at::outer(mean, mean));  // ascending
  const auto largest = [channels](const at::Tensor& x) {
    return x.narrow(-1, LinearTokenizer::kBlock - channels, channels).flip(-1);
  };
  return LinearTokenizer({largest(vectors).to(at::kFloat).contiguous(), (mean + 128).to(at::kFloat),
                          largest(variances).clamp_min(0).sqrt().to(at::kFloat), exponent});
}

}  // namespace orrery
