#pragma once
#include "autograd/variable.h"

namespace orrery::ops {

Variable sum(const Variable& x);  // of all elements, in the accumulation type; shape []
Variable mean(const Variable& x);

}  // namespace orrery::ops
