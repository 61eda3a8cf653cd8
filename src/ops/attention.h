#pragma once
// Attention without mask, and the types of the functions that models hold, so that context parallelism can
// replace them.
#include <concepts>
#include <functional>

#include "autograd/variable.h"
#include "ops/head_split.h"

namespace orrery {

struct AttentionResult {
  Variable out;    // (B,Sq,n,d)
  at::Tensor lse;  // (B,n,Sq) log-sum-exp of the scaled scores, accumulation type, no gradient
};

namespace ops {

// softmax(q k^T / sqrt(d)) v for q (B,Sq,n,d) and k, v (B,Sk,n,d), same dtype; scores and softmax in the
// accumulation type.
AttentionResult attention_with_lse(const Variable& q, const Variable& k, const Variable& v);
Variable attention(const Variable& q, const Variable& k, const Variable& v);

}  // namespace ops

using AttentionFn = std::function<Variable(const Variable& q, const Variable& k, const Variable& v)>;

// Heads (B,S,n,d) that are made when they are asked for. Ask once.
class Deferred {
 public:
  Deferred(const Variable& made) : make_([made](const HeadSplit&) { return made; }) {}  // NOLINT: one as well
  template <class Make>
  requires std::same_as<std::invoke_result_t<Make&>, Variable> Deferred(Make make)  // NOLINT
      : make_([make = std::move(make)](const HeadSplit&) { return make(); }) {}
  template <class Make>
  requires std::same_as<std::invoke_result_t<Make&, const HeadSplit&>, Variable> Deferred(
      Make make)  // NOLINT
      : make_(std::move(make)) {}
  Variable operator()() const { return make_({}); }
  // Who makes them may split them so (ops/head_split.h), where that costs nothing, or may not.
  Variable operator()(const HeadSplit& wish) const { return make_(wish); }

 private:
  std::function<Variable(const HeadSplit&)> make_;
};

// Asks for q, then k, then v, so that it can make use of one while the next is made.
using DeferredAttentionFn = std::function<Variable(const Deferred& q, const Deferred& k, const Deferred& v)>;
DeferredAttentionFn deferred(AttentionFn attention);

}  // namespace orrery
