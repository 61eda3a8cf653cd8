#pragma once
// Entry points of the .cu files, called by launch*.cpp: raw pointers and a stream, so that neither side needs
// the other's headers.
#include <cuda_runtime_api.h>

#include <cstdint>

namespace orrery::kernels::cuda {

enum class GradType { float32, bfloat16, float16 };

struct AdamWFloats {
  float grad_scale, keep_weight, keep_avg, add_grad, keep_avg_sq, add_grad_sq, root_of_bias2, eps, step;
  float average_rate;
};

// The tensors of one launch. It travels as the kernel's argument, at most 4 KiB, so no copy to the device is
// waited for. Block i works on elements [c kChunk, (c + 1) kChunk) of tensor t, the last one with
// first_chunk[t] <= i, where c = i - first_chunk[t].
constexpr int kTensorsPerLaunch = 64;
constexpr int64_t kChunk = 4096;
struct AdamWTable {
  float* weight[kTensorsPerLaunch];
  float* exp_avg[kTensorsPerLaunch];
  float* exp_avg_sq[kTensorsPerLaunch];
  const void* grad[kTensorsPerLaunch];
  void* rounded[kTensorsPerLaunch];   // bfloat16, or null
  float* average[kTensorsPerLaunch];  // or null
  int64_t numel[kTensorsPerLaunch];
  unsigned first_chunk[kTensorsPerLaunch + 1];
  bool aligned[kTensorsPerLaunch];  // for accesses of four elements
  int count;
  AdamWFloats factors;
};
static_assert(sizeof(AdamWTable) <= 4096);
void launch(const AdamWTable& table, GradType type, cudaStream_t stream);

// The same for averages: average += rate * (weight - average).
constexpr int kAveragesPerLaunch = 112;
struct AverageTable {
  float* average[kAveragesPerLaunch];
  const void* weight[kAveragesPerLaunch];
  int64_t numel[kAveragesPerLaunch];
  unsigned first_chunk[kAveragesPerLaunch + 1];
  bool aligned[kAveragesPerLaunch];
  int count;
  float rate;
};
static_assert(sizeof(AverageTable) <= 4096);
void launch(const AverageTable& table, GradType type, cudaStream_t stream);

// The same for norms, whose chunks are longer: *norm[t] = sqrt(sum of squares of tensor t).
constexpr int kNormsPerLaunch = 112;
constexpr int64_t kNormChunk = 32768;
struct NormTable {
  const void* data[kNormsPerLaunch];
  double* norm[kNormsPerLaunch];
  int64_t numel[kNormsPerLaunch];
  unsigned first_chunk[kNormsPerLaunch + 1];
  bool aligned[kNormsPerLaunch];
  int count;
  double* partial;  // one a chunk of this launch
};
static_assert(sizeof(NormTable) <= 4096);
void launch(const NormTable& table, GradType type, cudaStream_t stream);

}  // namespace orrery::kernels::cuda
