#pragma once
// Every NCCL call but those of the watch: communicators and collectives. Used by NcclComm alone.
#include <cuda_runtime_api.h>
#include <nccl.h>

#include "parallel/comm.h"

namespace orrery {

// For the ranks of host, on the current device. All of them call it.
ncclComm_t open_communicator(Comm& host);

// Waits for what is under way on the stream.
void close_communicator(ncclComm_t comm, cudaStream_t stream);

// Puts the collective on the stream. A barrier has a tensor of its own in out.
void issue(const Collective& call, ncclComm_t comm, int rank, cudaStream_t stream);

}  // namespace orrery
