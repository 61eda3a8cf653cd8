#pragma once
// Replicated data parallelism: every rank holds the whole model and averages its gradients with the others.
// And what ranks must agree on before they start: the same parameters, the same configuration. Called by the
// trainer.
#include <string>
#include <vector>

#include "parallel/comm.h"

namespace orrery {

// Reduces the tensors in place over comm; the same list, in the same order and shapes, on all ranks. They
// travel in flat buckets of about bucket_bytes, float32 (float64 for float64 tensors; a bfloat16 gradient is
// rounded once, at the end). Bits do not depend on bucket_bytes. Throws Error for an undefined tensor or one
// that is not floating.
void all_reduce_gradients(Comm& comm, const std::vector<at::Tensor>& gradients, ReduceOp op,
                          int64_t bucket_bytes = 25 << 20);

// Overwrites the tensors of all other ranks with root's; any strides.
void broadcast_tensors(Comm& comm, const std::vector<at::Tensor>& tensors, int root, std::string_view label);

// The texts of all ranks, in rank order, on every rank. Collective.
std::vector<std::string> gather_texts(Comm& comm, std::string_view what, std::string_view text);

// Throws the same Error on every rank unless text is the same everywhere: it names the ranks that differ from
// most and the first line in which they do. what: "configuration".
void require_agreement(Comm& comm, std::string_view what, std::string_view text);

}  // namespace orrery
