// Fills the tables of the kernel of averages.
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cassert>

#include "optim/cuda/launch.h"
#include "optim/kernels.h"

namespace orrery::kernels::cuda {

bool takes_average(const at::Tensor& average, const at::Tensor& weight) {
  return average.scalar_type() == at::kFloat && type_of(weight) && average.is_contiguous() &&
         weight.is_contiguous();
}

void average(const std::vector<at::Tensor>& averages, const std::vector<at::Tensor>& weights, double rate) {
  assert(averages.size() == weights.size());
  if (averages.empty()) return;
  const c10::cuda::CUDAGuard device(averages[0].device());
  AverageTable table{};
  table.rate = static_cast<float>(rate);
  for (const GradType type : {GradType::float32, GradType::bfloat16, GradType::float16}) {
    const auto flush = [&] {
      if (table.first_chunk[table.count] > 0) {
        launch(table, type, c10::cuda::getCurrentCUDAStream());
        C10_CUDA_KERNEL_LAUNCH_CHECK();
      }
      table.count = 0;
    };
    for (size_t i = 0; i < averages.size(); ++i) {
      constexpr unsigned kMaxChunks = 1u << 30;  // a grid holds twice as many blocks
      if (type_of(weights[i]) != type || weights[i].numel() == 0) continue;
      assert(takes_average(averages[i], weights[i]));
      if (table.count == kAveragesPerLaunch || table.first_chunk[table.count] >= kMaxChunks) flush();
      const int t = table.count++;
      table.average[t] = averages[i].data_ptr<float>();
      table.weight[t] = weights[i].const_data_ptr();
      table.numel[t] = weights[i].numel();
      table.aligned[t] = is_aligned(table.average[t]) && is_aligned(table.weight[t]);
      const int64_t chunks = (table.numel[t] + kChunk - 1) / kChunk;
      table.first_chunk[table.count] = table.first_chunk[t] + static_cast<unsigned>(chunks);
    }
    flush();
  }
}

}  // namespace orrery::kernels::cuda
