#include "autograd/tape.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include "autograd/save_policy.h"
#include "autograd/scope.h"
#include "base/error.h"
#include "base/rng.h"
#include "ops/activation.h"
#include "ops/elementwise.h"
#include "ops/linear.h"
#include "ops/reduce.h"

namespace orrery {
namespace {

double number(const at::Tensor& t) {
  return t.item<double>();
}
Variable leaf(double value) {
  return Variable(at::full({1}, value, at::kDouble), true);
}

TEST(Tape, gradients_of_a_variable_used_twice_add_up) {
  const Variable x = leaf(3);
  Recording recording;
  recording.backward(ops::add(ops::mul(x, x), ops::scale(x, 5)));
  EXPECT_EQ(number(x.grad()), 2 * 3 + 5);
  EXPECT_EQ(recording.tape().size(), 0u);
}

TEST(Tape, gradients_add_up_over_backward_passes_until_taken) {
  const Variable x = leaf(2);
  for (int pass = 0; pass < 3; ++pass) {
    Recording recording;
    recording.backward(ops::scale(x, 4));
  }
  EXPECT_EQ(number(x.slot()->take()), 12);
  EXPECT_FALSE(x.grad().defined());
}

TEST(Tape, a_sum_in_place_never_changes_a_gradient_that_somebody_else_holds) {
  const Variable a = leaf(1), b = leaf(1);
  Recording recording;
  const Variable sum = ops::add(a, b);  // hands one tensor to both
  recording.backward(ops::add(sum, ops::add(ops::scale(a, 2), ops::scale(a, 3))));
  EXPECT_EQ(number(a.grad()), 6);
  EXPECT_EQ(number(b.grad()), 1);
}

TEST(Tape, nothing_is_recorded_without_a_recording_or_for_constants_or_under_no_recording) {
  const Variable x = leaf(2);
  EXPECT_FALSE(ops::scale(x, 2).needs_grad());
  Recording recording;
  EXPECT_FALSE(ops::scale(x.detached(), 2).needs_grad());
  {
    const NoRecording off;
    EXPECT_FALSE(ops::scale(x, 2).needs_grad());
  }
  EXPECT_EQ(recording.tape().size(), 0u);
  EXPECT_TRUE(ops::scale(x, 2).needs_grad());
  EXPECT_EQ(recording.tape().size(), 1u);
}

TEST(Tape, values_that_no_backward_reads_are_free_to_go) {
  const Variable x(at::ones({1000}, at::kDouble), true);
  Recording recording;
  Variable y = x;
  for (int i = 0; i < 10; ++i) y = ops::scale(y, 1.1);  // backward reads the factor alone
  EXPECT_EQ(recording.tape().held_bytes(), 0);
  for (int i = 0; i < 10; ++i) y = ops::silu(y);
  EXPECT_EQ(recording.tape().held_bytes(), 10 * 8000);
}

TEST(Tape, held_bytes_are_told_by_the_label_that_made_them) {
  struct Leaf : Module {
    using Module::Module;
    Variable operator()(const Variable& x) const {
      const Scope scope(*this);
      return ops::silu(ops::scale(x, 2));
    }
  };
  struct Net : Module {
    Leaf first{this, "blocks.0"}, last{this, "blocks.17"}, head{this, "head.1"};
  } net;
  const Variable x(at::ones({100}, at::kDouble), true);
  Recording recording;
  const Variable y = net.head(net.last(net.first(x)));
  const std::map<std::string, int64_t> want = {{"blocks.*.scale", 1600}, {"head.1.scale", 800}};
  EXPECT_EQ(recording.tape().held_by_label(), want);
  const Variable z = ops::mul(ops::silu(y), y.detached());  // y once more, by another name
  int64_t total = 0;
  for (const auto& [label, bytes] : recording.tape().held_by_label()) total += bytes;
  EXPECT_EQ(total, recording.tape().held_bytes());
}

TEST(Tape, mistakes_are_named) {
  const Variable x(at::ones({3}, at::kDouble), true);
  Recording recording;
  EXPECT_THROW(recording.backward(ops::scale(x, 2)), Error);              // not one number
  EXPECT_THROW(recording.backward(ops::sum(x.detached())), Error);        // depends on nothing
  EXPECT_THROW(x.slot()->accumulate(at::ones({4}, at::kDouble)), Error);  // another shape
  EXPECT_THROW(x.slot()->accumulate(at::ones({3}, at::kFloat)), Error);   // another type
}

// Two linear layers in a scope, with hooks that note when they run and take the weights away between uses, as
// FSDP does.
struct Net : Module {
  Net() : first(this, "first", {4, 4}, Init::normal(0.5)), second(this, "second", {4, 4}, Init::normal(0.5)) {
    materialize(at::kCPU, at::kDouble);
    initialize(1);
  }
  Parameter first, second;
  Variable operator()(const Variable& x) const {
    const Scope scope(*this);
    return scope.result(ops::linear(ops::silu(ops::linear(x, first)), second));
  }
};

struct FreeWeights : ScopeHooks {
  FreeWeights(Net& net, std::vector<std::string>& log) : net(net), log(log) {}
  void note(const std::string& event, bool gather) {
    log.push_back(event);
    for (Parameter* p : net.parameters()) {
      if (gather) {
        p->variable().set_value(kept.at(p->key()));
      } else {
        kept[p->key()] = p->value();
        p->variable().value_ref()->tensor.reset();
      }
    }
  }
  void before_forward() override { note("before_forward", true); }
  void after_forward() override { note("after_forward", false); }
  void before_backward() override { note("before_backward", true); }
  void after_backward() override { note("after_backward", false); }
  Net& net;
  std::vector<std::string>& log;
  std::map<std::string, at::Tensor> kept;
};

std::vector<at::Tensor> gradients(Net& net, const at::Tensor& x) {
  Recording recording;
  recording.backward(ops::sum(net(Variable(x))));
  return {net.first.variable().slot()->take(), net.second.variable().slot()->take()};
}

TEST(Scope, weights_may_be_freed_between_forward_and_backward_with_or_without_recompute) {
  const at::Tensor x = Rng(4, "x").normal_tensor({3, 4}).to(at::kDouble);
  Net plain;
  const auto want = gradients(plain, x);
  for (const bool recompute : {false, true}) {
    Net net;
    std::vector<std::string> log;
    const auto hook = std::make_shared<FreeWeights>(net, log);
    hook->note("", false);
    log.clear();
    net.hooks.push_back(hook);
    if (recompute) net.save_policy = std::make_shared<SavePolicy>(std::vector<std::string>{});
    const auto got = gradients(net, x);
    for (size_t i = 0; i < want.size(); ++i) EXPECT_TRUE(at::equal(got[i], want[i]));
    EXPECT_EQ(log, (std::vector<std::string>{"before_forward", "after_forward", "before_backward",
                                             "after_backward"}));
    EXPECT_THROW(net.first.value(), Error);  // freed: reading is an error, never a stale value
  }
}

TEST(Scope, backward_hooks_run_even_if_no_gradient_leaves_the_module) {
  Net net;
  std::vector<std::string> log;
  const auto hook = std::make_shared<FreeWeights>(net, log);
  hook->note("", false);
  log.clear();
  net.hooks.push_back(hook);
  gradients(net, at::ones({1, 4}, at::kDouble));  // the input needs no gradient
  EXPECT_EQ(log.back(), "after_backward");
}

TEST(Scope, an_exception_in_forward_leaves_no_open_scope) {
  Net net;
  net.save_policy = std::make_shared<SavePolicy>(std::vector<std::string>{});
  Recording recording;
  EXPECT_THROW(net(Variable(at::ones({1, 5}, at::kDouble))), Error);
  EXPECT_EQ(Scope::innermost(), nullptr);
  EXPECT_FALSE(Scope::inside_recompute_unit());
}

TEST(SavePolicy, patterns_match_whole_labels) {
  EXPECT_TRUE(matches_pattern("blocks.7.self_attn.attention", "*.self_attn.attention"));
  EXPECT_TRUE(matches_pattern("blocks.7.mlp.layer1.linear", "blocks.*.layer1.*"));
  EXPECT_TRUE(matches_pattern("", "*"));
  EXPECT_FALSE(matches_pattern("blocks.7.attention.x", "*.attention"));
  EXPECT_FALSE(matches_pattern("a", ""));
  EXPECT_FALSE(SavePolicy({}).keeps("anything"));
}

TEST(Module, keys_follow_the_tree_and_meta_modules_have_no_storage) {
  struct Parent : Module {
    struct Child : Module {
      explicit Child(Module* parent)
          : Module(parent, "child.0"), weight(this, "weight", {2, 3}, Init::ones()) {}
      Parameter weight;
    };
    Parent() : child(this), bias(this, "bias", {5}, Init::zeros()) {}
    Child child;
    Parameter bias;
  } net;
  std::vector<std::string> keys;
  for (const Parameter* p : net.parameters()) keys.push_back(p->key());
  EXPECT_EQ(keys, (std::vector<std::string>{"bias", "child.0.weight"}));
  EXPECT_EQ(net.num_parameters(), 11);
  EXPECT_TRUE(net.child.weight.value().is_meta());
  EXPECT_THROW(net.initialize(1), Error);
}

}  // namespace
}  // namespace orrery
