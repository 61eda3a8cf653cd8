#pragma once
// How far a stream has come, as numbers of calls that the GPU writes into host memory. To look takes no call
// of CUDA: an event's query may block for as long as the GPU waits for its peers, when another thread is
// loading a kernel or allocating meanwhile. Used by NcclComm, which marks, and NcclWatch, which looks.
#include <ATen/core/Tensor.h>
#include <cuda_runtime_api.h>

namespace orrery {

class StreamProgress {
 public:
  StreamProgress();
  // Once the stream comes here. Numbers rise.
  void mark_reached(int64_t number, cudaStream_t stream) { mark(0, number, stream); }
  void mark_finished(int64_t number, cudaStream_t stream) { mark(1, number, stream); }
  void finish_on_host(int64_t number);  // at once; nothing may be on the stream

  int64_t reached() const { return look(0); }  // -1 before the first
  int64_t finished() const { return look(1); }

 private:
  void mark(int place, int64_t number, cudaStream_t stream);
  int64_t look(int place) const;

  at::Tensor numbers_;  // (2), pinned
};

}  // namespace orrery
