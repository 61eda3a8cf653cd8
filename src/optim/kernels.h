#pragma once
// The update of AdamW on CUDA in one pass, for optim/adamw.cpp, whose float64 twin is in
// tests/optim/adamw_test.cpp, averages for optim/ema.cpp, and norms of gradients for optim/grad_clip.cpp. CPU
// builds link a stub that throws.
#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

namespace orrery::kernels::cuda {

// Float32 and contiguous, on one device; the gradients in any floating type.
struct AdamWTensors {
  std::vector<at::Tensor> weights, grads, exp_avg, exp_avg_sq;
  // Undefined where there is none: bfloat16 copies of the weights to refresh; averages to move, such that
  // takes_average is true of them.
  std::vector<at::Tensor> rounded, averages;
};

// Formed in float64 and rounded to float32 once: 1 - beta2 in float32 is wrong by 1.3e-5 for beta2 = 0.999.
struct AdamWFactors {
  double grad_scale;                // of the gradients
  double keep_weight;               // 1 - lr decay
  double keep_avg, add_grad;        // beta1, 1 - beta1
  double keep_avg_sq, add_grad_sq;  // beta2, 1 - beta2
  double root_of_bias2, eps;        // sqrt(1 - beta2^t)
  double step;                      // lr / (1 - beta1^t)
  double average_rate;              // 1 - beta of the averages
};

// Per element, in float32: g = grad_scale grad, rounded to the gradient's type; m = keep_avg m + add_grad g;
// v = keep_avg_sq v + add_grad_sq g^2; w = keep_weight w - step m / (sqrt(v) / root_of_bias2 + eps). Then
// what average() does with average_rate, to the same bits, towards the rounded weight where there is one.
void adamw(const AdamWTensors& tensors, const AdamWFactors& factors);

// average += rate * (weight - average) in float32, for pairs on one device that takes_average is true of.
bool takes_average(const at::Tensor& average, const at::Tensor& weight);
void average(const std::vector<at::Tensor>& averages, const std::vector<at::Tensor>& weights, double rate);

// Euclidean norms, (number of tensors) in float64, summed in float64, of tensors of one device that are not
// empty. None if one of them is of another type than float32, bfloat16 and float16.
std::optional<at::Tensor> norms(const std::vector<at::Tensor>& tensors);

}  // namespace orrery::kernels::cuda
