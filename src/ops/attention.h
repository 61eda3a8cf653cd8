#pragma once
// Attention without mask, and the types of the functions that models hold, so that context parallelism can
// replace them.
#include <concepts>
#include <functional>

#include "autograd/variable.h"

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

// A variable that is made when it is asked for. Ask once.
class Deferred {
 public:
  Deferred(const Variable& made) : make_([made] { return made; }) {}  // NOLINT: a variable is one
  template <class Make>
  requires std::same_as<std::invoke_result_t<Make&>, Variable> Deferred(Make make)  // NOLINT
      : make_(std::move(make)) {}
  Variable operator()() const { return make_(); }

 private:
  std::function<Variable()> make_;
};

// Asks for q, then k, then v, so that it can make use of one while the next is made.
using DeferredAttentionFn = std::function<Variable(const Deferred& q, const Deferred& k, const Deferred& v)>;
DeferredAttentionFn deferred(AttentionFn attention);

}  // namespace orrery
