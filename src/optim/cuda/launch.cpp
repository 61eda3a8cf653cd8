// Fills the tables of the AdamW kernel.
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cassert>

#include "optim/cuda/launch.h"
#include "optim/kernels.h"

namespace orrery::kernels::cuda {
namespace {

// Gradients of other types are converted to float32.
bool has_type(const at::Tensor& grad, GradType type) {
  return type_of(grad).value_or(GradType::float32) == type;
}

AdamWFloats in_float(const AdamWFactors& f) {
  const auto to = [](double value) { return static_cast<float>(value); };
  return {.keep_weight = to(f.keep_weight),
          .keep_avg = to(f.keep_avg),
          .add_grad = to(f.add_grad),
          .keep_avg_sq = to(f.keep_avg_sq),
          .add_grad_sq = to(f.add_grad_sq),
          .root_of_bias2 = to(f.root_of_bias2),
          .eps = to(f.eps),
          .step = to(f.step)};
}

void append(AdamWTable& table, const AdamWTensors& tensors, size_t i, const at::Tensor& grad) {
  const int t = table.count++;
  table.weight[t] = tensors.weights[i].data_ptr<float>();
  table.exp_avg[t] = tensors.exp_avg[i].data_ptr<float>();
  table.exp_avg_sq[t] = tensors.exp_avg_sq[i].data_ptr<float>();
  table.grad[t] = grad.const_data_ptr();
  const at::Tensor& rounded = tensors.rounded[i];
  table.rounded[t] = rounded.defined() ? rounded.data_ptr() : nullptr;
  table.numel[t] = tensors.weights[i].numel();
  table.aligned[t] = is_aligned(table.weight[t]) && is_aligned(table.exp_avg[t]) &&
                     is_aligned(table.exp_avg_sq[t]) && is_aligned(table.grad[t]) &&
                     is_aligned(table.rounded[t]);
  const int64_t chunks = (table.numel[t] + kChunk - 1) / kChunk;
  table.first_chunk[table.count] = table.first_chunk[t] + static_cast<unsigned>(chunks);
}

void update(const AdamWTensors& tensors, const AdamWFactors& factors, GradType type) {
  constexpr unsigned kMaxChunks = 1u << 30;  // a grid holds twice as many blocks
  std::vector<at::Tensor> grads;             // keeps copies until their launch
  AdamWTable table{};
  table.factors = in_float(factors);
  const auto flush = [&] {
    if (table.first_chunk[table.count] > 0) {
      launch(table, type, c10::cuda::getCurrentCUDAStream());
      C10_CUDA_KERNEL_LAUNCH_CHECK();
    }
    table.count = 0;
    grads.clear();
  };
  for (size_t i = 0; i < tensors.weights.size(); ++i) {
    if (!has_type(tensors.grads[i], type) || tensors.grads[i].numel() == 0) continue;
    if (table.count == kTensorsPerLaunch || table.first_chunk[table.count] >= kMaxChunks) flush();
    grads.push_back(type == GradType::float32 ? tensors.grads[i].to(at::kFloat).contiguous()
                                              : tensors.grads[i].contiguous());
    append(table, tensors, i, grads.back());
  }
  flush();
}

}  // namespace

void adamw(const AdamWTensors& tensors, const AdamWFactors& factors) {
  assert(tensors.grads.size() == tensors.weights.size() && tensors.rounded.size() == tensors.weights.size());
  if (tensors.weights.empty()) return;
  const c10::cuda::CUDAGuard device(tensors.weights[0].device());
  for (const GradType type : {GradType::float32, GradType::bfloat16, GradType::float16})
    update(tensors, factors, type);
}

}  // namespace orrery::kernels::cuda
