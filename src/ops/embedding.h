#pragma once
#include "autograd/variable.h"

namespace orrery::ops {

// [cos(t w_0), ..., cos(t w_{h-1}), sin(t w_0), ..., sin(t w_{h-1})] with h = channels / 2 and w_i =
// 10000^(-i/h), in the accumulation type. t (...) floating; result (..., channels). (Cosmos-Predict2.5
// networks/minimal_v4_dit.py, Timesteps.)
Variable timestep_embedding(const Variable& t, int64_t channels);

// Rows of table (V,D) for ids (...) of type int64, from 0 to V - 1: (...,D).
Variable embedding(const at::Tensor& ids, const Variable& table);

}  // namespace orrery::ops
