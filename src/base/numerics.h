#pragma once
// How ATen rounds and orders sums: settings of the whole process.
#include "base/config.h"

namespace orrery {

// Matrix products and convolutions on CUDA keep what the ops promise: float32 operands all their bits (no
// TF32, which keeps 11 and puts float32 golden cases beyond their tolerances), and partial sums of bfloat16
// and float16 products are float32. main() calls it; nothing else changes these settings.
void forbid_reduced_precision();

// Only kernels that give the same bits every time. Before the first matrix product on CUDA.
void set_deterministic(bool on);

// numerics.deterministic and numerics.tune, before the first matrix product on CUDA. With tune a product's or
// a convolution's first call at a shape times several kernels, each rank for itself: sums may differ in their
// order from rank to rank and from run to run. Both together are refused.
void choose_kernels(const NumericsConfig& c);

}  // namespace orrery
