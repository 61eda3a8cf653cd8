#pragma once
#include "autograd/variable.h"

namespace orrery::ops {

// softmax(scale q k^T + bias) v for q (B,S,n,d) and k, v (B,N,m,d) with m a divisor of n: query heads h n/m
// to (h+1) n/m - 1 share head h of k and v. bias (n,S,N) or (1,S,N) in the accumulation type; minus infinity
// hides a token, as long as each query sees one. Scores and softmax in the accumulation type, rounded once.
// Holds the (B,n,S,N) scores: for the lengths of prompts.
Variable biased_attention(const Variable& q, const Variable& k, const Variable& v, const Variable& bias,
                          double scale);

// (1,S,S): token s sees tokens 0 to s.
at::Tensor causal_bias(int64_t tokens, const at::TensorOptions& options);

}  // namespace orrery::ops
