// Fills the tables of the AdamW kernel.
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cassert>

#include "optim/cuda/launch.h"
#include "optim/kernels.h"

namespace orrery::kernels::cuda {
namespace {

AdamWFloats in_float(const AdamWFactors& f) {
  const auto to = [](double value) { return static_cast<float>(value); };
  return {.grad_scale = to(f.grad_scale),
          .keep_weight = to(f.keep_weight),
          .keep_avg = to(f.keep_avg),
          .add_grad = to(f.add_grad),
          .keep_avg_sq = to(f.keep_avg_sq),
          .add_grad_sq = to(f.add_grad_sq),
          .root_of_bias2 = to(f.root_of_bias2),
          .eps = to(f.eps),
          .step = to(f.step),
          .average_rate = to(f.average_rate)};
}

void append(AdamWTable& table, const AdamWTensors& tensors, size_t i, const at::Tensor& grad) {
  const int t = table.count++;
  table.weight[t] = tensors.weights[i].data_ptr<float>();
  table.exp_avg[t] = tensors.exp_avg[i].data_ptr<float>();
  table.exp_avg_sq[t] = tensors.exp_avg_sq[i].data_ptr<float>();
  table.grad[t] = grad.const_data_ptr();
  const at::Tensor &rounded = tensors.rounded[i], &average = tensors.averages[i];
  table.rounded[t] = rounded.defined() ? rounded.data_ptr() : nullptr;
  table.average[t] = average.defined() ? average.data_ptr<float>() : nullptr;
  table.numel[t] = tensors.weights[i].numel();
  table.aligned[t] = is_aligned(table.weight[t]) && is_aligned(table.exp_avg[t]) &&
                     is_aligned(table.exp_avg_sq[t]) && is_aligned(table.grad[t]) &&
                     is_aligned(table.rounded[t]) && is_aligned(table.average[t]);
  const int64_t chunks = (table.numel[t] + kChunk - 1) / kChunk;
  table.first_chunk[table.count] = table.first_chunk[t] + static_cast<unsigned>(chunks);
}

// With the gradients of one type, or of none that has a kernel: these are scaled and converted first.
void update(const AdamWTensors& tensors, const AdamWFactors& factors, std::optional<GradType> type) {
  constexpr unsigned kMaxChunks = 1u << 30;  // a grid holds twice as many blocks
  std::vector<at::Tensor> grads;             // keeps copies until their launch
  AdamWTable table{};
  table.factors = in_float(factors);
  if (!type) table.factors.grad_scale = 1;
  const auto flush = [&] {
    if (table.first_chunk[table.count] > 0) {
      launch(table, type.value_or(GradType::float32), c10::cuda::getCurrentCUDAStream());
      C10_CUDA_KERNEL_LAUNCH_CHECK();
    }
    table.count = 0;
    grads.clear();
  };
  for (size_t i = 0; i < tensors.weights.size(); ++i) {
    const at::Tensor& grad = tensors.grads[i];
    if (type_of(grad) != type || grad.numel() == 0) continue;
    if (table.count == kTensorsPerLaunch || table.first_chunk[table.count] >= kMaxChunks) flush();
    grads.push_back(type ? grad.contiguous() : grad.mul(factors.grad_scale).to(at::kFloat).contiguous());
    append(table, tensors, i, grads.back());
  }
  flush();
}

}  // namespace

void adamw(const AdamWTensors& tensors, const AdamWFactors& factors) {
  assert(tensors.grads.size() == tensors.weights.size() && tensors.rounded.size() == tensors.weights.size() &&
         tensors.averages.size() == tensors.weights.size());
  if (tensors.weights.empty()) return;
  const c10::cuda::CUDAGuard device(tensors.weights[0].device());
  constexpr std::optional<GradType> kTypes[] = {GradType::float32, GradType::bfloat16, GradType::float16,
                                                std::nullopt};
  for (const auto& type : kTypes) update(tensors, factors, type);
}

}  // namespace orrery::kernels::cuda
