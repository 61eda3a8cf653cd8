// AdamW over many tensors: a block a chunk, four elements a thread at a time. Reads each gradient once, reads
// and writes each weight, moment and average once, and writes the rounded weight beside it.
#include "optim/cuda/chunks.cuh"
#include "optim/cuda/entry.h"

namespace orrery::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// The bits that a pass over the gradients would leave in them.
template <class G>
__device__ float scaled(G grad, float scale) {
  return static_cast<float>(static_cast<G>(static_cast<float>(grad) * scale));
}

struct Element {
  float weight, exp_avg, exp_avg_sq, average;
};
// is_master: the average is of the rounded weight. Each rounding is written down, so that the loops below
// give the same bits.
__device__ Element updated(Element e, float grad, bool is_master, const AdamWFloats& f) {
  e.exp_avg = __fmaf_rn(f.keep_avg, e.exp_avg, f.add_grad * grad);
  e.exp_avg_sq = __fmaf_rn(f.keep_avg_sq, e.exp_avg_sq, f.add_grad_sq * (grad * grad));
  const float root = sqrtf(e.exp_avg_sq) / f.root_of_bias2 + f.eps;
  e.weight = __fmaf_rn(f.keep_weight, e.weight, -(f.step * (e.exp_avg / root)));
  const float seen = is_master ? static_cast<float>(static_cast<__nv_bfloat16>(e.weight)) : e.weight;
  e.average = moved(e.average, seen, f.average_rate);
  return e;
}

template <class G>
__global__ void __launch_bounds__(kThreads) adamw(const __grid_constant__ AdamWTable table) {
  const int t = tensor_of_block(table.first_chunk, table.count);
  float *const weight = table.weight[t], *const exp_avg = table.exp_avg[t],
               *const exp_avg_sq = table.exp_avg_sq[t], *const average = table.average[t];
  const G* const grad = static_cast<const G*>(table.grad[t]);
  auto* const rounded = static_cast<__nv_bfloat16*>(table.rounded[t]);
  const bool is_master = rounded != nullptr, has_average = average != nullptr;
  const AdamWFloats& f = table.factors;
  const int64_t begin = (blockIdx.x - table.first_chunk[t]) * kChunk,
                end = min(begin + kChunk, table.numel[t]);
  const int64_t vector_end = table.aligned[t] ? begin + (end - begin) / 4 * 4 : begin;
  for (int64_t i = begin + threadIdx.x * 4; i < vector_end; i += kThreads * 4) {
    const Four<float> w = load_four(weight, i), m = load_four(exp_avg, i), v = load_four(exp_avg_sq, i);
    const Four<float> a = has_average ? load_four(average, i) : Four<float>{};
    const Four<G> g = load_four(grad, i);
    Four<float> new_w, new_m, new_v, new_a;
    Four<__nv_bfloat16> new_rounded;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const Element e =
          updated({w.at[k], m.at[k], v.at[k], a.at[k]}, scaled(g.at[k], f.grad_scale), is_master, f);
      new_w.at[k] = e.weight;
      new_m.at[k] = e.exp_avg;
      new_v.at[k] = e.exp_avg_sq;
      new_a.at[k] = e.average;
      new_rounded.at[k] = static_cast<__nv_bfloat16>(e.weight);
    }
    store_four(weight, i, new_w);
    store_four(exp_avg, i, new_m);
    store_four(exp_avg_sq, i, new_v);
    if (is_master) store_four(rounded, i, new_rounded);
    if (has_average) store_four(average, i, new_a);
  }
  for (int64_t i = vector_end + threadIdx.x; i < end; i += kThreads) {
    const Element e = updated({weight[i], exp_avg[i], exp_avg_sq[i], has_average ? average[i] : 0},
                              scaled(grad[i], f.grad_scale), is_master, f);
    weight[i] = e.weight;
    exp_avg[i] = e.exp_avg;
    exp_avg_sq[i] = e.exp_avg_sq;
    if (is_master) rounded[i] = static_cast<__nv_bfloat16>(e.weight);
    if (has_average) average[i] = e.average;
  }
}

}  // namespace

void launch(const AdamWTable& table, GradType type, cudaStream_t stream) {
  const unsigned blocks = table.first_chunk[table.count];
  switch (type) {
    case GradType::float32:
      return adamw<float><<<blocks, kThreads, 0, stream>>>(table);
    case GradType::bfloat16:
      return adamw<__nv_bfloat16><<<blocks, kThreads, 0, stream>>>(table);
    case GradType::float16:
      return adamw<__half><<<blocks, kThreads, 0, stream>>>(table);
  }
}

}  // namespace orrery::kernels::cuda
