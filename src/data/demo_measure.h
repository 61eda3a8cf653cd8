#pragma once
// Whether a film of the demonstration scene does what its prompt says, judged by the block's colour alone.
// Made for films that a model dreamt: blur, noise and faint ghosts do not upset it; a film without a block is
// not obeyed.
#include <ATen/core/Tensor.h>

#include "data/demo_task.h"

namespace orrery {

// Where the colour is in one picture. Units of the scene: 1 is half the shorter side; x right, y up, origin
// in the middle.
struct ColorBlob {
  double x = 0, y = 0;  // centroid; 0 where mass is 0
  double mass = 0;      // area
};
ColorBlob find_color(const at::Tensor& picture, int64_t color);  // uint8 [H,W,3]

struct DemoVerdict {
  bool obeyed = false;
  double dx = 0, dy = 0;  // centroid of the last frame minus that of the first
  double mass = 0;        // area in the last frame / area in the first
};
// film: uint8 [F,H,W,3], F >= 2. Obeyed: the block is in both frames, and has moved by at least a tenth of
// the shorter side in the prompt's direction and further that way than along the other axis.
DemoVerdict judge_demo(const at::Tensor& film, const DemoTask& task);

}  // namespace orrery
