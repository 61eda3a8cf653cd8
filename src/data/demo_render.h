#pragma once
// Pictures of the demonstration scene, anti-aliased by 4 x 4 samples in every pixel that an edge crosses.
#include <ATen/core/Tensor.h>

#include "data/demo_scene.h"

namespace orrery {

// uint8 [F, height, width, 3], one picture a state. The scene's unit square [-1, 1]^2 fills the shorter side;
// wall and table go on beyond it. height and width from 16 to 4096.
at::Tensor render_demo(const DemoScene& scene, std::span<const DemoState> states, int64_t height,
                       int64_t width);

}  // namespace orrery
