#include "ops/cuda/wide_attention.h"

#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>

#include "ops/cuda/launch.h"

namespace orrery::kernels::cuda {
namespace {

constexpr int64_t kMaxScores = int64_t{1} << 28;  // 1 GiB

// One head of one batch entry as (1,S,d).
at::Tensor head_of(const at::Tensor& x, int64_t entry, int64_t head) {
  return x.select(2, head).narrow(0, entry, 1);
}

}  // namespace

cpu::Attention wide_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale) {
  const at::Tensor out = at::empty(q.sizes(), q.options());
  const at::Tensor lse = at::empty({q.size(0), q.size(2), q.size(1)}, q.options().dtype(at::kFloat));
  const int64_t queries = q.size(1), keys = k.size(1),
                step = std::clamp<int64_t>(kMaxScores / keys, 1, queries);
  for (int64_t entry = 0; entry < q.size(0); ++entry)
    for (int64_t head = 0; head < q.size(2); ++head)
      for (int64_t begin = 0; begin < queries; begin += step) {
        const int64_t count = std::min(step, queries - begin);
        const at::Tensor scores = at::bmm(head_of(q, entry, head).narrow(1, begin, count),
                                          head_of(k, entry, head).transpose(1, 2), at::kFloat)
                                      .contiguous();
        const at::Tensor p = at::empty(scores.sizes(), q.options());
        launch({.scores = scores.const_data_ptr<float>(),
                .p = p.data_ptr(),
                .lse = lse.data_ptr<float>() + (entry * q.size(2) + head) * queries + begin,
                .rows = count,
                .width = keys,
                .scale = static_cast<float>(scale)},
               *type_of(q), c10::cuda::getCurrentCUDAStream());
        C10_CUDA_KERNEL_LAUNCH_CHECK();
        head_of(out, entry, head).narrow(1, begin, count).copy_(at::bmm(p, head_of(v, entry, head)));
      }
  return {out, lse};
}

}  // namespace orrery::kernels::cuda
