#pragma once
// The arithmetic of merging on one part of a tensor: flat, in double. Used by Merger.
#include <ATen/core/Tensor.h>

#include "merge/config.h"

namespace orrery {

// DARE: zeroes in place what has a uniform number at or above the density; the rest is divided by the density
// if asked.
void drop(at::Tensor& change, const at::Tensor& uniforms, double density, bool rescale);

// One change out of the models' weighted changes w_k d_k: their sum, or with election (ties, dare_ties) the
// sum of those whose sign is the elected one. That is the sign of the sum over all (consensus sum) or of the
// sum of signs (count), + where that is zero; a zero never has it. Normalised, the sum is divided by the
// weights of those summed, or by all weights without election (by 1 where that is 0).
at::Tensor combine(const std::vector<at::Tensor>& changes, const MergeConfig& config);

bool all_finite(const at::Tensor& values);

}  // namespace orrery
