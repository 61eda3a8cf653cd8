#pragma once
// What our own kernels of attention for Hopper take (ops/cuda/attention_wgmma.cu,
// attention_backward_wgmma.cu): heads of kTiledHead channels, and at least kMinTiledKeys keys. On H200 the
// forward has cuDNN's rate at 4160 keys (465 against 449 to 487 TFLOP/s), more with more (659 against 548 at
// 37,440) and less with few: 386 against 487 with 512, 221 against 310 with 240.
#include <cstdint>

namespace orrery {

inline constexpr int64_t kTiledHead = 128, kMinTiledKeys = 4096;
inline constexpr int64_t kTiledQueries = 64;  // of a tile of the backward

}  // namespace orrery
