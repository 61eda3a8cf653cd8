#pragma once
// What launch_*.cpp share to take tensors apart.
#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <array>
#include <optional>

#include "ops/cuda/entry.h"

namespace orrery::kernels::cuda {

// None for types that have no kernels.
std::optional<Type> type_of(const at::Tensor& t);

// Whether kernels for Hopper alone run on the current device and were built.
bool is_hopper();

// x (B,S,n,d) as kernels of attention read it: d dense, pointer and strides in multiples of 16 bytes. A copy
// where it does not lie so.
at::Tensor aligned(const at::Tensor& x);
// The strides of such a tensor in elements. That of a dimension of size 1, which may be anything in ATen, is
// what the dimensions after it take.
std::array<int64_t, 4> strides_of(const at::Tensor& x);

// x as rows of its last dimension, of which consecutive ones share a row of `modulation`, when the shape of
// that is x's with a run of 1s before the last dimension, as (B,T,1,1,D) for (B,T,H,W,D). None for other
// shapes, and for sizes that the kernels do not take.
std::optional<Rows> rows_of(const at::Tensor& x, const at::Tensor& modulation);

// The rows of `modulation` as they lie, or of a copy in `holder` where they are not evenly spaced.
Modulation modulation_of(const at::Tensor& modulation, at::Tensor& holder);

// Space for the first stage of `sums` sums over the rows of a frame, and the second stage: result k is
// partial[k] summed, of the given type and shape.
at::Tensor partial_sums(const at::Tensor& x, const Rows& rows, int64_t sums);
std::vector<at::Tensor> finish_sums(const at::Tensor& partial, const Rows& rows, at::IntArrayRef shape,
                                    const at::Tensor& like);

}  // namespace orrery::kernels::cuda
