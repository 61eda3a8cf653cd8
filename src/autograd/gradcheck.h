#pragma once
// gradcheck: the three checks that every op passes in double. Library code, called by tests.
#include <functional>
#include <string>

#include "autograd/variable.h"

namespace orrery {

struct GradcheckReport {
  double central_difference = 0;  // |<c, J t> - difference quotient| / scale, per random direction, worst
  double adjoint = 0;             // |<J'c, t> - <c, J t>| / scale, worst
  double per_input = 0;           // gradient of each input alone against its difference quotient, worst
  std::string worst_input;
};

// f maps inputs (float64 leaves) to outputs; random directions t and cotangents c come from the seed.
// `differentiable[i]` false leaves input i constant (masks, indices). Throws Error with the figures unless
// the adjoint identity holds to 1e-10 and the central differences (step 1e-5) to `tolerance`.
GradcheckReport gradcheck(const std::function<Variables(const Variables&)>& f, const Tensors& inputs,
                          std::vector<bool> differentiable = {}, double tolerance = 1e-7, uint64_t seed = 1);

}  // namespace orrery
