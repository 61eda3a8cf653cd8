// Fills the tables of the kernel of norms.
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "optim/cuda/launch.h"
#include "optim/kernels.h"

namespace orrery::kernels::cuda {
namespace {

int64_t chunks_of(const at::Tensor& t) {
  return (t.numel() + kNormChunk - 1) / kNormChunk;
}

// norms[i] for the tensors of one type; partial has room for the chunks of all.
void find_norms(const std::vector<at::Tensor>& tensors, GradType type, double* norms, double* partial) {
  std::vector<at::Tensor> kept;  // copies until their launch
  NormTable table{};
  table.partial = partial;
  const auto flush = [&] {
    if (table.count > 0) {
      launch(table, type, c10::cuda::getCurrentCUDAStream());
      C10_CUDA_KERNEL_LAUNCH_CHECK();
    }
    table.count = 0;
    kept.clear();
  };
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (type_of(tensors[i]) != type) continue;
    if (table.count == kNormsPerLaunch) flush();
    kept.push_back(tensors[i].contiguous());
    const int t = table.count++;
    table.data[t] = kept.back().const_data_ptr();
    table.norm[t] = norms + i;
    table.numel[t] = kept.back().numel();
    table.aligned[t] = is_aligned(table.data[t]);
    table.first_chunk[table.count] = table.first_chunk[t] + static_cast<unsigned>(chunks_of(kept.back()));
  }
  flush();
}

}  // namespace

std::optional<at::Tensor> norms(const std::vector<at::Tensor>& tensors) {
  int64_t chunks = 0;
  for (const at::Tensor& tensor : tensors) {
    if (!type_of(tensor)) return std::nullopt;
    chunks += chunks_of(tensor);
  }
  if (tensors.empty()) return std::nullopt;
  const c10::cuda::CUDAGuard device(tensors[0].device());
  const auto options = tensors[0].options().dtype(at::kDouble);
  const at::Tensor norms = at::empty({static_cast<int64_t>(tensors.size())}, options),
                   partial = at::empty({chunks}, options);
  for (const GradType type : {GradType::float32, GradType::bfloat16, GradType::float16})
    find_norms(tensors, type, norms.data_ptr<double>(), partial.data_ptr<double>());
  return norms;
}

}  // namespace orrery::kernels::cuda
