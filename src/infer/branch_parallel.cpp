#include "infer/branch_parallel.h"

#include <ATen/ops/empty.h>

#include "base/error.h"

namespace orrery {

flow::BranchesFn branches_over(Comm& pair) {
  require(pair.size() <= 2, "guidance has two branches, got a group of ", pair.size(), " ranks for them");
  if (pair.size() == 1) return {};
  return [&pair](const auto& each, const at::Tensor& text, const at::Tensor& negative_text) {
    const at::Tensor own = each(pair.rank() == 0 ? text : negative_text).contiguous();
    std::vector<int64_t> shape = own.sizes().vec();
    shape.insert(shape.begin(), 2);
    const at::Tensor both = at::empty(shape, own.options());
    pair.all_gather(both, own, "guidance branches").wait();
    return flow::Branches{.cond = both[0], .uncond = both[1]};
  };
}

}  // namespace orrery
