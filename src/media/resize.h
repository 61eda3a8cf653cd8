#pragma once
// Resizing of uint8 pictures as the references do it, in float32 on the calling thread: separable filters
// that widen when shrinking (antialiasing), edge weights renormalised. Called by src/data and by generation.
// Reference: cosmos-predict2.5 through torchvision's antialiased interpolate; see specs of each function.
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace orrery {

// frames: uint8 [F,H,W,3] in all functions.

// To height x width whatever the aspect ratio, bilinear, v/255 filtered, times 255, TRUNCATED (a flat 255 may
// become 254): what training clips of a local data set go through (datasets/local_datasets/dataset_video.py).
// The same size gives the same pixels.
at::Tensor resize_stretch(const at::Tensor& frames, int64_t height, int64_t width);

// Bilinear to the smallest size that covers height x width (scale max, size ceil), rounded half to even, then
// the centre cut out (offset half to even): inputs of inference (inference/video2world.py, resize_input).
at::Tensor resize_cover_crop(const at::Tensor& frames, int64_t height, int64_t width);

struct Padded {
  at::Tensor frames;        // uint8 [F,height,width,3]
  at::Tensor padding_mask;  // float32 [height,width], 1 on padded pixels
  int64_t resized_height = 0, resized_width = 0;
};
// Bicubic (a = -0.5) so that the whole picture fits into height x width, then centred with mirrored borders,
// or with repeated edge pixels where a border is not smaller than the picture (imaginaire
// datasets/webdataset/augmentors/image: resize.py, padding.py).
Padded resize_fit_pad(const at::Tensor& frames, int64_t height, int64_t width);

}  // namespace orrery
