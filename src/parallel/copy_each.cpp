#include "parallel/copy_each.h"

#include <cassert>

#include "parallel/kernels.h"

namespace orrery {

void copy_each(const TensorPairs& pairs) {
  assert(pairs.to.size() == pairs.from.size());
  if (!pairs.to.empty() && pairs.to[0].is_cuda()) return kernels::cuda::copy_each(pairs);
  for (size_t i = 0; i < pairs.to.size(); ++i) pairs.to[i].copy_(pairs.from[i]);
}

void add_each(const TensorPairs& pairs) {
  assert(pairs.to.size() == pairs.from.size());
  if (!pairs.to.empty() && pairs.to[0].is_cuda()) return kernels::cuda::add_each(pairs);
  for (size_t i = 0; i < pairs.to.size(); ++i) pairs.to[i].add_(pairs.from[i]);
}

}  // namespace orrery
