#pragma once
// The last step of a network under context parallelism: every rank of the group gets the whole of what each
// has computed for its own latent frames, with gradient. Called by train/parallelize.
#include "autograd/variable.h"
#include "parallel/comm.h"

namespace orrery {

// local: (..., T/c, ...) with the frames along dim, one shape on all ranks; returns (..., T, ...) in the
// order of ranks. Collective, also where a tangent goes through it. Every rank must compute the same loss
// from the result, and gradients of parameters must be averaged over the group, as Fsdp does: each rank's
// gradient is its frames' part of the loss, c times.
Variable gather_frames(Comm& context, const Variable& local, int64_t dim);

}  // namespace orrery
