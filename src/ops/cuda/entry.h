#pragma once
// Entry points of the .cu files, called by launch.cpp: raw pointers, shapes and a stream, so that neither
// side needs the other's headers. Tensors are contiguous and on the stream's device.
#include <cuda_runtime_api.h>

#include <cstdint>

namespace orrery::kernels::cuda {

enum class Type { float32, bfloat16, float16 };

// out = x + gate * y; x, y, out (rows, width); one row of gate (rows / rows_per_gate, width) serves
// rows_per_gate rows.
struct GatedAdd {
  const void *x, *gate, *y;
  void* out;
  int64_t rows, rows_per_gate, width;
};
void launch(const GatedAdd& args, Type type, cudaStream_t stream);

}  // namespace orrery::kernels::cuda
