#pragma once
// HeadSplit: the heads of (B,S,n,d) as those who exchange them want them in memory: each receiver's together.
// Asked for by context parallelism (parallel/ulysses.h), made by ops that write their results anew anyway.
#include <ATen/core/Tensor.h>

namespace orrery {

// The heads are dealt out to `receivers` in order, and those of each in order to `groups`, in equal numbers
// n' = n / (receivers groups). Split heads are (groups,receivers,B,S,n',d), contiguous. One of each:
// (B,S,n,d).
struct HeadSplit {
  int64_t receivers = 1, groups = 1;

  int64_t parts() const { return receivers * groups; }
  bool divides(int64_t heads) const { return parts() > 0 && heads % parts() == 0; }
};

// x (B,S,n,d) as its split says, contiguous, and back. A copy where there is more than one part.
at::Tensor split_heads(const at::Tensor& x, const HeadSplit& split);
at::Tensor joined_heads(const at::Tensor& parts, const HeadSplit& split);

}  // namespace orrery
