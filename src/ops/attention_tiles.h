#pragma once
// What attention() gives to our own kernels for Hopper (ops/cuda/attention_wgmma.cu,
// attention_backward_wgmma.cu), which take heads of kTiledHead channels and any number of keys: calls with at
// least kMinTiledKeys. On H200, with 16 heads, the forward has cuDNN's rate at 4160 keys (465 against 449 to
// 487 TFLOP/s), more with more (659 against 548 at 37,440) and less with few: 386 against 487 with 512, 221
// against 310 with 240. Likewise backward: 606 against 556 at 42,240, the same at 1024, 270 against 397 with
// 512. With one or two heads of few keys nobody has measured them.
#include <cstdint>

namespace orrery {

inline constexpr int64_t kTiledHead = 128, kMinTiledKeys = 4096;
inline constexpr int64_t kTiledQueries = 64;  // of a tile of the backward

}  // namespace orrery
