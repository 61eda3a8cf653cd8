#pragma once
// Context parallelism cuts one clip along time: rank r of a context group holds the r-th of equal runs of
// latent frames. Here are the cut, its inverse and the piece layout of collectives; parallel/ulysses.h mixes
// the tokens of all ranks in attention and says how the parts fit together. Called where batches and samples
// are prepared.
#include "parallel/comm.h"

namespace orrery {

// Latent frames of each rank. Throws Error, with the group sizes that would do, unless the frames divide
// equally (each rank's loss is a mean over its frames, and the mean of these is the clip's only if all have
// as many) and each rank gets a head.
int64_t frame_split(int64_t latent_frames, int64_t heads, int64_t context);

// This rank's frames of x along dim, a view. Throws Error where x's frames do not divide. A size of one is
// cut as any other, so what one value serves all frames, as a timestep of (B,1), is not given here.
at::Tensor local_frames(const at::Tensor& x, int64_t dim, const Comm& context);

// How many of this rank's frames are given: counts (B), int64, are those of the whole clip, which come first
// in it.
at::Tensor local_condition_frames(const at::Tensor& counts, int64_t frames_per_rank, const Comm& context);

// The whole of what local_frames cut, on every rank; local has one shape on all of them. Collective, without
// gradient: for sampling.
at::Tensor gather_frames(Comm& context, const at::Tensor& local, int64_t dim);

// One dense piece for each rank, one after the other, as a collective sends them: x cut along dim into these
// lengths. unpack_pieces is the inverse; `whole` is x's shape. Either may share memory with its input, and
// does where are_dense holds.
at::Tensor pack_pieces(const at::Tensor& x, int64_t dim, const Counts& lengths);
at::Tensor unpack_pieces(const at::Tensor& packed, at::IntArrayRef whole, int64_t dim, const Counts& lengths);

// Whether the pieces along dim of a contiguous tensor are its memory in order: nothing stands before dim.
bool are_dense(at::IntArrayRef whole, int64_t dim);

// to.copy_(from) at the speed of memory for views whose last dimensions lie together; shapes and types agree.
void copy_runs(const at::Tensor& to, const at::Tensor& from);

}  // namespace orrery
