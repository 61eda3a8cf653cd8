#pragma once
// The NCCL backend of Comm: tensors in GPU memory, one GPU a rank. Made by whoever trains on several GPUs.
//
// The first call sets NCCL up, which takes all ranks. Later ones return at once: a call runs on a stream of
// the Comm's own after what the current stream holds, and Work::wait() makes the current stream wait for it.
// The host never waits, barrier() included. A call that does not finish within the world's time-out, counted
// from when this rank's GPU came to it, ends the run and names it as Work::wait() would; so does an error
// that NCCL meets meanwhile.
//
// Ranks that share several of these Comms call them in the same order. NCCL does not compare what ranks call:
// where one calls another collective or another size than its peers, results are undefined.
//
// Sums are in an order that depends on the element's place and on the number of ranks, and bfloat16 is
// rounded at every addition; runs on the same GPUs repeat to the last bit. mean multiplies by 1/size before
// it adds. max and min may lose a NaN.
#include "parallel/world.h"

namespace orrery {

// For the ranks of host, a Comm of World's in host memory; all of them call it. host is not kept. device is
// this rank's GPU. The result must end before world. Throws Error if device does not exist or in a build
// without CUDA; the first call does if two ranks chose the same GPU.
std::unique_ptr<Comm> nccl_comm(World& world, Comm& host, at::Device device);

}  // namespace orrery
