#include "autograd/unit_trace.h"

#include <ATen/ops/ones.h>
#include <gmock/gmock.h>

#include "autograd/save_policy.h"
#include "autograd/scope.h"
#include "autograd/tape.h"
#include "base/error.h"
#include "ops/activation.h"
#include "ops/elementwise.h"
#include "ops/linear.h"
#include "ops/shape.h"

namespace orrery {
namespace {

using testing::ElementsAre;

// silu(w x) * (w x), by way of a view, and a constant that needs no gradient.
struct Gate : Module {
  explicit Gate(at::Device device = at::kCPU) : weight(this, "weight", {4, 4}, Init::ones()) {
    materialize(device, at::kDouble);
  }
  Parameter weight;
  Variable operator()(const Variable& x) const {
    const Scope scope(*this);
    const Variable constant = ops::scale(Variable(at::ones({8, 4}, x.value().options())), 2);
    const Variable y = ops::reshape(ops::linear(ops::reshape(x, {8, 4}), weight), {2, 4, 4});
    return scope.result(ops::add(ops::reshape(ops::mul(ops::silu(y), y), {8, 4}), constant));
  }
};

std::vector<std::string> labels(const UnitTrace& unit) {
  std::vector<std::string> out;
  for (const TracedOp& op : unit.ops) out.push_back(op.label);
  return out;
}

UnitTrace trace(Gate& gate, int64_t runs) {
  const Variable x(at::ones({2, 4, 4}, gate.weight.value().options()), true);
  return trace_unit(
      gate, [&] { return Variables{gate(x)}; }, runs);
}

TEST(UnitTrace, has_the_ops_in_order_with_what_they_take_make_and_read) {
  Gate gate;
  const UnitTrace unit = trace(gate, 0);
  EXPECT_THAT(labels(unit), ElementsAre("reshape", "linear", "reshape", "silu", "mul", "reshape", "add"));
  EXPECT_THAT(unit.storage_bytes, ElementsAre(256, 256, 256, 256));  // linear, silu, mul, add
  EXPECT_EQ(unit.values[unit.ops[0].outputs[0]].storage, TracedValue::kOutside);
  EXPECT_EQ(unit.values[unit.ops[1].outputs[0]].storage, unit.values[unit.ops[2].outputs[0]].storage);
  EXPECT_THAT(unit.ops[0].inputs, ElementsAre());
  EXPECT_THAT(unit.ops[1].reads, unit.ops[0].outputs);  // and the weight, from outside
  EXPECT_THAT(unit.ops[4].inputs, ElementsAre(unit.ops[3].outputs[0], unit.ops[2].outputs[0]));
  EXPECT_THAT(unit.ops[6].reads, ElementsAre());
  EXPECT_TRUE(unit.values[unit.ops[6].outputs[0]].is_result);
  EXPECT_EQ(unit.ops[1].flops, 2.0 * 8 * 4 * 4);
  EXPECT_EQ(unit.ops[1].moved_bytes, 256 + 128 + 256);
  EXPECT_EQ(unit.ops[2].moved_bytes, 0);
  EXPECT_EQ(unit.forward_seconds(), 0);
}

TEST(UnitTrace, times_every_op_that_takes_time) {
  Gate gate;
  const UnitTrace unit = trace(gate, 3);
  for (const TracedOp& op : unit.ops) EXPECT_GT(op.seconds, 0) << op.label;
}

TEST(UnitTrace, meta_tensors_do) {
  Gate gate, abstract(at::kMeta);
  const UnitTrace want = trace(gate, 0), got = trace(abstract, 0);
  EXPECT_EQ(labels(got), labels(want));
  EXPECT_EQ(got.storage_bytes, want.storage_bytes);
}

TEST(UnitTrace, leaves_the_policy_of_the_unit_as_it_was_even_after_a_failure) {
  Gate gate;
  const auto own = std::make_shared<SavePolicy>(std::vector<std::string>{"x"});
  gate.save_policy = own;
  trace(gate, 0);
  EXPECT_EQ(gate.save_policy, own);
  EXPECT_THROW(trace_unit(
                   gate, [] { return Variables{}; }, 0),
               Error);  // does not run it
  EXPECT_EQ(gate.save_policy, own);
}

}  // namespace
}  // namespace orrery
