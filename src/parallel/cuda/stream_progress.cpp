#include "parallel/cuda/stream_progress.h"

#include <ATen/ops/empty.h>
#include <cuda.h>

#include <atomic>

#include "parallel/cuda/check.h"

namespace orrery {
namespace {

// Through the runtime: libcuda itself need not be there where the program is linked.
decltype(&cuStreamWriteValue64) find_write_value() {
  constexpr unsigned kVersion = 12000;  // of the driver's interface
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  check(cudaGetDriverEntryPointByVersion("cuStreamWriteValue64", &function, kVersion, cudaEnableDefault,
                                         &found));
  require(found == cudaDriverEntryPointSuccess, "CUDA: the driver has no cuStreamWriteValue64");
  return reinterpret_cast<decltype(&cuStreamWriteValue64)>(function);
}

}  // namespace

StreamProgress::StreamProgress()
    : numbers_(at::empty({2}, at::TensorOptions().dtype(at::kLong).pinned_memory(true))) {
  numbers_.fill_(-1);
}

void StreamProgress::mark(int place, int64_t number, cudaStream_t stream) {
  static const auto write_value = find_write_value();
  const auto address = reinterpret_cast<CUdeviceptr>(numbers_.data_ptr<int64_t>() + place);
  const CUresult status =
      write_value(stream, address, static_cast<cuuint64_t>(number), CU_STREAM_WRITE_VALUE_DEFAULT);
  if (status != CUDA_SUCCESS)
    throw Error(text_of("CUDA: cuStreamWriteValue64: error ", status), Exit::failure);
}

void StreamProgress::finish_on_host(int64_t number) {
  for (int place = 0; place < 2; ++place)
    std::atomic_ref(numbers_.data_ptr<int64_t>()[place]).store(number, std::memory_order_release);
}

int64_t StreamProgress::look(int place) const {
  return std::atomic_ref(numbers_.data_ptr<int64_t>()[place]).load(std::memory_order_acquire);
}

}  // namespace orrery
