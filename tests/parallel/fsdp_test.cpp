// What Fsdp refuses, and which collectives a step makes, seen through a planned network.
#include "parallel/fsdp.h"

#include <ATen/ops/empty.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "parallel/planned_comm.h"
#include "parallel/stack.h"

namespace orrery::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct OneRank {
  std::unique_ptr<Comm> comm = single_rank_comm("alone");
  Fsdp fsdp{*comm, *comm, at::kCPU, {}};
};

void expect_refused(const std::function<void()>& body, const std::string& message) {
  try {
    body();
    ADD_FAILURE() << "not refused: " << message;
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(message));
  }
}

TEST(Fsdp, a_parameter_belongs_to_one_unit) {
  Stack stack;
  OneRank ranks;
  ranks.fsdp.attach(stack.first, true);
  expect_refused([&] { ranks.fsdp.attach(stack.first, true); }, "no parameter is left for unit first");
  expect_refused([&] { ranks.fsdp.require_complete(stack); }, "scale belongs to no unit");
  ranks.fsdp.attach(stack, true);
  expect_refused([&] { ranks.fsdp.attach(stack.second, true); }, "attach inner units before outer ones");
}

TEST(Fsdp, a_parameter_shared_by_two_units_is_refused) {
  Stack stack;
  stack.scale.variable() = stack.third.bias.variable();
  OneRank ranks;
  ranks.fsdp.attach(stack.third, true);
  expect_refused([&] { ranks.fsdp.attach(stack, true); }, "scale of unit rest is third.bias of another unit");
}

TEST(Fsdp, a_weight_read_outside_its_unit_is_refused) {
  Stack stack;
  const auto comm = single_rank_comm("alone");
  Fsdp fsdp(*comm, *comm, at::kCPU, {.compute_dtype = at::kBFloat16});
  attach_all(fsdp, stack);
  fsdp.initialize(1);
  expect_refused([&] { stack.first.weight.value(); }, "a unit's weights outside the unit");
}

// The labels of what a planned rank of four sends in one step.
std::vector<std::string> collectives(const FsdpConfig& config, bool reshard, int micro_batches,
                                     MeshShape shape) {
  PlanClock clock;
  PlannedNetwork network(clock, {}, std::vector<int>(4, 0));
  const Mesh mesh = network.mesh(0, shape);
  Stack stack;
  Fsdp fsdp(mesh.shard(), mesh.replicate(), at::kMeta, config);
  attach_all(fsdp, stack, reshard);
  for (int i = 0; i < micro_batches; ++i) {
    fsdp.set_last_micro_batch(i + 1 == micro_batches);
    Recording recording;
    recording.backward(stack(at::empty({2, 6}, at::device(at::kMeta).dtype(at::kFloat))));
  }
  fsdp.take_gradients();
  std::vector<std::string> labels;
  for (const PlannedCollective& c : network.collectives()) labels.push_back(c.label);
  return labels;
}

TEST(Fsdp, one_gather_a_unit_before_forward_and_backward_and_one_reduction_after) {
  EXPECT_THAT(collectives({.prefetch = 0}, true, 1, {1, 4, 1}),
              ElementsAre("gather rest", "gather first", "gather second", "gather third", "reduce third",
                          "gather second", "reduce second", "gather first", "reduce first", "reduce rest"));
}

TEST(Fsdp, the_next_unit_is_gathered_ahead) {
  EXPECT_THAT(collectives({.prefetch = 1}, true, 1, {1, 4, 1}),
              ElementsAre("gather rest", "gather first", "gather second", "gather third", "gather second",
                          "reduce third", "gather first", "reduce second", "reduce first", "reduce rest"));
}

TEST(Fsdp, units_that_stay_whole_are_gathered_once) {
  EXPECT_THAT(collectives({.prefetch = 0}, false, 1, {1, 4, 1}),
              ElementsAre("gather rest", "gather first", "gather second", "gather third", "reduce third",
                          "reduce second", "reduce first", "reduce rest"));
}

TEST(Fsdp, gradients_of_micro_batches_travel_once_unless_asked) {
  const auto reductions = [](const std::vector<std::string>& labels) {
    return std::count_if(labels.begin(), labels.end(), [](const auto& l) { return l.starts_with("reduce"); });
  };
  EXPECT_EQ(reductions(collectives({}, true, 3, {1, 4, 1})), 4);
  EXPECT_EQ(reductions(collectives({.reduce_each_micro_batch = true}, true, 3, {1, 4, 1})), 12);
}

TEST(Fsdp, replicas_follow_one_unit_behind) {
  EXPECT_THAT(collectives({.prefetch = 0}, false, 1, {2, 2, 1}),
              ElementsAre("gather rest", "gather first", "gather second", "gather third", "reduce third",
                          "reduce replicas third", "reduce second", "reduce replicas second", "reduce first",
                          "reduce replicas first", "reduce rest", "reduce replicas rest"));
}

}  // namespace
}  // namespace orrery::test
