#pragma once
// What the Reason1 text encoder makes of a language model's hidden states. Source: cosmos-predict2.5
// predict2/text_encoders/text_encoder.py.
#include "autograd/variable.h"
#include "base/config.h"

namespace orrery {

// (x - mean) / (std + 1e-8) over the last dim, std unbiased; mean, difference, std, its sum with 1e-8 and the
// quotient round to x's type each.
at::Tensor mean_normalize(const at::Tensor& x);

// Joins the outputs of the layers, each (B,S,D) and normalised: states[0], the embedding, is left out.
// full_concat: one behind the other, (B,S,L D). mean_pooling: their mean. pool_every_n_layers_and_concat:
// means of groups of `group` layers, the last of which may be smaller, one behind the other.
at::Tensor join_layers(const Variables& states, LayerJoin strategy, int64_t group);
// How many times D its result is wide.
int64_t num_joined(int64_t layers, LayerJoin strategy, int64_t group);

}  // namespace orrery
