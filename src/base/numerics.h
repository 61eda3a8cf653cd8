#pragma once
// How ATen rounds and orders sums: settings of the whole process.

namespace orrery {

// Matrix products and convolutions on CUDA keep what the ops promise: float32 operands all their bits (no
// TF32, which keeps 11 and puts float32 golden cases beyond their tolerances), and partial sums of bfloat16
// and float16 products are float32. main() calls it; nothing else changes these settings.
void forbid_reduced_precision();

// numerics.deterministic: only kernels that give the same bits every time. Before the first matrix product on
// CUDA.
void set_deterministic(bool on);

}  // namespace orrery
