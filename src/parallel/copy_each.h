#pragma once
// Copies and sums of many tensors at once, for FSDP's units: on CUDA one kernel for all, where ATen takes a
// launch each; elsewhere ATen.
#include <ATen/core/Tensor.h>

#include <vector>

namespace orrery {

// Pairs of one size and device that share no memory. Their types may differ: values are rounded to nearest
// even, the bits are those of copy_ and add_.
struct TensorPairs {
  std::vector<at::Tensor> to, from;
  void add(at::Tensor to_this, at::Tensor from_that) {
    to.push_back(std::move(to_this));
    from.push_back(std::move(from_that));
  }
};

void copy_each(const TensorPairs& pairs);  // to[i] = from[i]
void add_each(const TensorPairs& pairs);   // to[i] += from[i]

}  // namespace orrery
