#pragma once
// Weights for timings: drawn on the device where they lie, since billions of numbers take the host minutes.
#include <ATen/Context.h>

#include "autograd/module.h"

namespace orrery::test {

// Normal about the mean and with the standard deviation of the initialisation; what starts at zero is drawn
// too, for zeros cost a GPU less power. The same on all devices of a kind.
inline void draw_weights(Module& net) {
  constexpr double kStd = 0.02;
  at::manual_seed(1);
  for (const Parameter* p : net.parameters()) {
    const Init& init = p->init();
    at::Tensor(p->value()).normal_(init.kind == Init::Kind::ones ? 1 : 0, init.std > 0 ? init.std : kStd);
  }
}

}  // namespace orrery::test
