#pragma once
// check(status): throws Error for a failed call of CUDA or NCCL, with the library's own words and the place.
#include <cuda_runtime_api.h>
#include <nccl.h>

#include "base/error.h"

namespace orrery {

inline std::string place_of(const std::source_location& where) {
  const std::string_view path = where.file_name();
  return text_of(path.substr(path.rfind('/') + 1), ":", where.line());
}

inline void check(cudaError_t status, std::source_location where = std::source_location::current()) {
  if (status == cudaSuccess) return;
  throw Error(text_of("CUDA: ", cudaGetErrorString(status), " (", place_of(where), ")"),
              status == cudaErrorMemoryAllocation ? Exit::out_of_memory : Exit::failure, where);
}

// Exit::peer_lost where the cause may lie with a peer or the network: another rank's message then goes first.
inline void check(ncclResult_t status, std::source_location where = std::source_location::current()) {
  if (status == ncclSuccess) return;
  const bool peer = status == ncclRemoteError || status == ncclSystemError;
  throw Error(text_of("NCCL: ", ncclGetErrorString(status), ": ", ncclGetLastError(nullptr), " (",
                      place_of(where), ")"),
              peer ? Exit::peer_lost : Exit::failure, where);
}

}  // namespace orrery
