#include "model/layer_join.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/std.h>

#include "base/error.h"
#include "ops/numeric.h"

namespace orrery {
namespace {

int64_t group_size(int64_t layers, LayerJoin strategy, int64_t group) {
  require(layers >= 1 && group >= 1, layers, " layers in groups of ", group);
  return strategy == LayerJoin::full_concat ? 1 : strategy == LayerJoin::mean_pooling ? layers : group;
}

at::Tensor std_of_rows(const at::Tensor& x, const at::Tensor& like) {
  if (x.is_meta()) return at::empty(like.sizes(), x.options());  // ATen has it not for meta tensors
  return at::std(x, -1, /*unbiased=*/true, true);
}

}  // namespace

at::Tensor mean_normalize(const at::Tensor& x) {
  const at::ScalarType type = x.scalar_type();
  const at::Tensor wide = to_acc(x);
  const at::Tensor mean = wide.mean(-1, true).to(type), std = std_of_rows(wide, mean).to(type);
  return (x - mean) / (std + 1e-8);
}

int64_t num_joined(int64_t layers, LayerJoin strategy, int64_t group) {
  const int64_t size = group_size(layers, strategy, group);
  return (layers + size - 1) / size;
}

at::Tensor join_layers(const Variables& states, LayerJoin strategy, int64_t group) {
  const int64_t layers = std::ssize(states) - 1;
  group = group_size(layers, strategy, group);
  std::vector<at::Tensor> parts;
  for (int64_t begin = 1; begin <= layers; begin += group) {
    std::vector<at::Tensor> members;
    for (int64_t i = begin; i < std::min(begin + group, layers + 1); ++i)
      members.push_back(mean_normalize(states[static_cast<size_t>(i)].value()));
    parts.push_back(members.size() == 1 ? members[0] : at::stack(members).mean(0));
  }
  return at::cat(parts, -1);
}

}  // namespace orrery
