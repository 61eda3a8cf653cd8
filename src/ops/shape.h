#pragma once
// Ops that only move elements.
#include "autograd/variable.h"

namespace orrery::ops {

Variable reshape(const Variable& x, const Shape& shape);  // one entry may be -1
// reshape to `split`, permute by `order`, reshape to `merged`: what einops calls rearrange.
Variable rearrange(const Variable& x, const Shape& split, const Shape& order, const Shape& merged);
Variables chunk(const Variable& x, int64_t count, int64_t dim);  // equal parts
Variable concat(const Variables& parts, int64_t dim);
Variable slice(const Variable& x, int64_t dim, int64_t begin, int64_t end);

}  // namespace orrery::ops
