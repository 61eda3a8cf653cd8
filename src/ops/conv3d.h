#pragma once
// Convolution over frames, rows and columns: all convolutions of the video autoencoder, those of single
// frames (kernel 1 in time) among them.
#include <array>

#include "autograd/variable.h"

namespace orrery {

// Axes are time, rows, columns. Zeros are added on either side; those before the first frame lie before the
// history.
struct ConvGeometry {
  std::array<int64_t, 3> stride{1, 1, 1};
  std::array<int64_t, 3> pad_before{}, pad_after{};
};

namespace ops {

// x (B,Ci,T,H,W), weight (Co,Ci,kt,kh,kw), bias (Co) or undefined, one dtype; y (B,Co,T',H',W'). history
// (B,Ci,n,H,W), or undefined, holds the frames before x: the result is that of the two joined in time. Sums
// in the accumulation type, one rounding. On the CPU the bits of a frame depend on the frames under its
// kernel alone, so that a film in parts gives what the whole film gives. Error: shapes or dtypes that do not
// fit, fewer frames, rows or columns than the kernel has.
Variable conv3d(const Variable& x, const Variable& history, const Variable& weight, const Variable& bias,
                const ConvGeometry& geometry);

// conv3d without history, plus residual, of the result's shape and type. On a GPU, where nothing is recorded,
// the sum is made before the one rounding; else the convolution is rounded, and so is the sum.
Variable conv3d_add(const Variable& x, const Variable& weight, const Variable& bias, const Variable& residual,
                    const ConvGeometry& geometry);

}  // namespace ops
}  // namespace orrery
