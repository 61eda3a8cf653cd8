#include "bench/label_times.h"

#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "autograd/save_policy.h"
#include "autograd/scope.h"
#include "autograd/tape.h"
#include "ops/activation.h"
#include "ops/linear.h"
#include "ops/reduce.h"

namespace orrery {
namespace {

// An op that takes a known time in each direction.
class Slow final : public Op {
 public:
  explicit Slow(double ms) : ms_(ms) {}
  std::string_view name() const override { return "slow"; }
  bool saves_input(size_t) const override { return true; }
  Tensors forward(const Tensors& in) const override {
    spend(ms_);
    return {in[0] * 1};
  }
  Tensors backward(const Saved& saved, const Tensors& dout) const override {
    saved.in(0);  // makes it again, if it was evicted
    spend(2 * ms_);
    return {dout[0]};
  }
  Tensors jvp(const Saved&, const Tensors& tin) const override { return tin; }

 private:
  static void spend(double ms) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double, std::milli>(ms);
    while (std::chrono::steady_clock::now() < end) {
    }
  }
  double ms_;
};

struct Unit final : Module {
  Unit(Module* parent, std::string name) : Module(parent, std::move(name)) {}
  Variable operator()(const Variable& x) const {
    const Scope scope(*this);
    const Variable first = apply_op(std::make_shared<Slow>(3), {x})[0];
    return scope.result(apply_op(std::make_shared<Slow>(1), {first})[0]);
  }
};
struct Net final : Module {
  Unit a{this, "blocks.0"}, b{this, "blocks.1"};
};

std::vector<TimeRow> times_of(const Net& net) {
  LabelTimes times(at::kCPU);
  const Observing observing(times);
  Recording recording;
  times.begin("start");
  const Variable loss = ops::sum(net.b(net.a(Variable(at::ones({2}), true))));
  recording.backward(loss);
  times.section("end");
  times.end();
  return times.rows(1);
}

TimeRow row(const std::vector<TimeRow>& rows, const std::string& label, const std::string& phase) {
  for (const TimeRow& r : rows)
    if (r.label == label && r.phase == phase) return r;
  return {};
}

TEST(LabelTimes, gather_the_calls_of_all_blocks_under_one_label) {
  const auto rows = times_of(Net{});
  const TimeRow forward = row(rows, "blocks.*.slow", "forward"),
                backward = row(rows, "blocks.*.slow", "backward");
  EXPECT_EQ(forward.calls, 4);
  EXPECT_EQ(backward.calls, 4);
  EXPECT_GE(forward.ms, 8);
  EXPECT_GE(backward.ms, 16);
  EXPECT_EQ(row(rows, "blocks.*.slow", "recompute").calls, 0);
  EXPECT_TRUE(std::is_sorted(rows.begin(), rows.end(),
                             [](const TimeRow& a, const TimeRow& b) { return a.ms > b.ms; }));
}

TEST(LabelTimes, of_recompute_are_not_charged_to_the_op_that_asked_for_it) {
  Net net;
  for (Module* unit : net.children())
    unit->save_policy = std::make_shared<SavePolicy>(std::vector<std::string>{});
  const auto rows = times_of(net);
  EXPECT_EQ(row(rows, "blocks.*.slow", "recompute").calls, 2);
  EXPECT_GE(row(rows, "blocks.*.slow", "recompute").ms, 6);
  EXPECT_GE(row(rows, "blocks.*.slow", "backward").ms, 16);
}

TEST(LabelTimes, add_up_to_the_time_between_begin_and_end) {
  LabelTimes times(at::kCPU);
  const Observing observing(times);
  const auto begin = std::chrono::steady_clock::now();
  times.begin("start");
  Net net;
  net.a(Variable(at::ones({2})));
  times.section("end");
  times.end();
  const std::chrono::duration<double, std::milli> all = std::chrono::steady_clock::now() - begin;
  EXPECT_LE(total_ms(times.rows(1)), all.count());
  EXPECT_GE(total_ms(times.rows(1)), 4);
  EXPECT_EQ(waiting_ms(times.rows(1)), 0);
  EXPECT_DOUBLE_EQ(total_ms(times.rows(2)), total_ms(times.rows(1)) / 2);
}

TEST(LabelTimes, know_the_arithmetic_of_products_and_the_bytes_of_the_rest) {
  LabelTimes times(at::kCPU);
  const Observing observing(times);
  times.begin("start");
  const Variable x(at::ones({5, 4}), true), weight(at::ones({3, 4}), true);
  Recording recording;
  recording.backward(ops::sum(ops::gelu(ops::linear(x, weight))));
  times.end();
  const auto rows = times.rows(1);
  EXPECT_EQ(row(rows, "linear", "forward").flops, 2 * 5 * 4 * 3);
  EXPECT_EQ(row(rows, "linear", "backward").flops, 2 * 2 * 5 * 4 * 3);
  EXPECT_EQ(row(rows, "gelu", "forward").flops, 0);
  EXPECT_EQ(row(rows, "gelu", "forward").bytes, 2 * 5 * 3 * 4);
}

TEST(LabelTimes, keep_waits_for_collectives_apart) {
  LabelTimes times(at::kCPU);
  times.before_wait("barrier ''");  // outside of what is measured
  times.after_wait();
  times.begin("start");
  times.before_wait("all_gather 'gather blocks.3'");
  times.after_wait();
  times.end();
  const auto rows = times.rows(1);
  EXPECT_EQ(row(rows, "all_gather 'gather blocks.*'", "wait").calls, 1);
  EXPECT_EQ(rows.size(), 2U);
  EXPECT_EQ(waiting_ms(rows), row(rows, "all_gather 'gather blocks.*'", "wait").ms);
}

}  // namespace
}  // namespace orrery
