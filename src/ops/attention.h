#pragma once
// Attention without mask, and the type of the function that models hold, so that context parallelism can
// replace it.
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

}  // namespace orrery
