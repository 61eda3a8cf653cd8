#include "ops/cuda/launch.h"

#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/empty.h>

#include "ops/kernels.h"

namespace orrery::kernels::cuda {
namespace {

constexpr int64_t kAlignment = 16;  // bytes, of pointers and strides: kernels load vectors of that size

bool is_aligned(const at::Tensor& x) {
  const int64_t step = kAlignment / x.element_size();
  bool fits = x.stride(3) == 1 && reinterpret_cast<uintptr_t>(x.const_data_ptr()) % kAlignment == 0;
  for (int64_t dim = 0; dim < 3; ++dim)
    fits = fits && (x.size(dim) == 1 || (x.stride(dim) > 0 && x.stride(dim) % step == 0));
  return fits;
}

}  // namespace

std::optional<Type> type_of(const at::Tensor& t) {
  switch (t.scalar_type()) {
    case at::kFloat:
      return Type::float32;
    case at::kBFloat16:
      return Type::bfloat16;
    case at::kHalf:
      return Type::float16;
    default:
      return std::nullopt;
  }
}

bool has_tiled_attention() {
#ifdef ORRERY_SM90A
  return true;
#else
  return false;
#endif
}

bool is_hopper() {
#ifdef ORRERY_SM90A
  const cudaDeviceProp* const device = at::cuda::getCurrentDeviceProperties();
  return device->major == 9 && device->minor == 0;
#else
  return false;
#endif
}

at::Tensor aligned(const at::Tensor& x) {
  return is_aligned(x) ? x : x.clone(at::MemoryFormat::Contiguous);
}

std::array<int64_t, 4> strides_of(const at::Tensor& x) {
  std::array<int64_t, 4> stride{};
  int64_t packed = 1;
  for (int64_t dim = 3; dim >= 0; --dim) {
    stride[dim] = x.size(dim) == 1 ? packed : x.stride(dim);
    packed = std::max(packed, x.size(dim) * stride[dim]);
  }
  return stride;
}

std::optional<Rows> rows_of(const at::Tensor& x, const at::Tensor& modulation) {
  if (modulation.dim() != x.dim() || x.numel() == 0 || x.dim() == 0 || modulation.size(-1) != x.size(-1))
    return std::nullopt;
  const Rows whole{.count = x.numel() / x.size(-1), .per_frame = 1, .width = x.size(-1)};
  if (whole.width > kMaxWidth || whole.count > kMaxRows) return std::nullopt;
  Rows rows = whole;
  int64_t dim = x.dim() - 2;
  for (; dim >= 0 && modulation.size(dim) == 1; --dim) rows.per_frame *= x.size(dim);
  for (; dim >= 0; --dim)
    if (modulation.size(dim) != x.size(dim)) return std::nullopt;
  return rows;
}

Modulation modulation_of(const at::Tensor& modulation, at::Tensor& holder) {
  // Chunks of a (B,T,1,1,3D) tensor are evenly spaced: each dimension is as far apart as the ones inside it
  // are long.
  int64_t stride = 0, inner = 1;
  bool even = modulation.stride(-1) == 1 || modulation.size(-1) == 1;
  for (int64_t dim = modulation.dim() - 2; dim >= 0; --dim) {
    if (modulation.size(dim) == 1) continue;
    if (stride == 0) stride = modulation.stride(dim);
    even = even && modulation.stride(dim) == stride * inner;
    inner *= modulation.size(dim);
  }
  if (even) {
    holder = modulation;
    return {modulation.const_data_ptr(), stride};
  }
  holder = modulation.contiguous();
  return {holder.const_data_ptr(), modulation.size(-1)};
}

at::Tensor partial_sums(const at::Tensor& x, const Rows& rows, int64_t sums) {
  return at::empty({sums, rows.frames() * strips_per_frame(rows), rows.width}, x.options().dtype(at::kFloat));
}

std::vector<at::Tensor> finish_sums(const at::Tensor& partial, const Rows& rows, at::IntArrayRef shape,
                                    const at::Tensor& like) {
  ColumnSums args{.partial = {},
                  .out = {},
                  .frames = rows.frames(),
                  .strips = strips_per_frame(rows),
                  .width = rows.width};
  std::vector<at::Tensor> out;
  for (int64_t k = 0; k < partial.size(0); ++k) {
    out.push_back(at::empty(shape, like.options()));
    args.partial[k] = partial.select(0, k).const_data_ptr<float>();
    args.out[k] = out.back().data_ptr();
  }
  launch(args, *type_of(like), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

}  // namespace orrery::kernels::cuda
