#pragma once
// GELU in the erf form and its derivative in float32: for the kernels of gelu.cu, and for tests, which
// compile it for the host and so check it without a GPU. With phi and Phi the density and the distribution
// function of the standard normal, and Mills' ratio M(a) = Phi(-a) / phi(a),
//   gelu(x)  = x Phi(x)          = x |s - phi(x) M(|x|)|
//   gelu'(x) = Phi(x) + x phi(x) = s + phi(x) (x - (2 s - 1) M(|x|))
// where s is 1 for x > 0, else 0: nothing cancels in the negative tail. M is smooth and has no zero: it is t
// times a polynomial of t = 1 / (K + a), fitted to the least largest relative error for a up to 13.5: 2^-24
// up to a = 6, 2^-21 beyond. Roundings of x^2, which phi has in its exponent, weigh more: in all, the
// relative error of gelu is below (20 + x^2) 2^-24 down to x = -13, below which it is 0 on GPUs. NaN gives
// NaN, as do -infinity and, in the derivative, both infinities; so they do in ATen on GPUs.
#include <cmath>

#ifdef __CUDACC__
#define ORRERY_HOST_DEVICE __host__ __device__
#else
#define ORRERY_HOST_DEVICE
#endif

namespace orrery::kernels::gelu {

// One instruction each on a GPU, where results below 2^-126 become 0.
ORRERY_HOST_DEVICE inline float exp2_of(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return std::exp2(x);
#endif
}
ORRERY_HOST_DEVICE inline float inverse_of(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1 / x;
#endif
}
ORRERY_HOST_DEVICE inline float is_positive(float x) {  // 1 or 0
#ifdef __CUDA_ARCH__
  float y;
  asm("set.gt.f32.f32 %0, %1, 0f00000000;" : "=f"(y) : "f"(x));
  return y;
#else
  return x > 0 ? 1.0f : 0.0f;
#endif
}

ORRERY_HOST_DEVICE inline float density(float x) {  // phi(x) = 2^(-x^2 log2(e) / 2 - log2(2 pi) / 2)
  return exp2_of(fmaf(x * x, -0.721347520f, -1.32574806f));
}
ORRERY_HOST_DEVICE inline float mills_ratio(float x) {  // M(|x|)
  constexpr float kShift = 3.33f;
  constexpr float kTerms[] = {1413.78894f, -1860.01318f, 738.737793f, -64.4266129f,
                              41.1045837f, 9.12211323f,  3.36619544f, 0.99943012f};  // highest power first
  const float t = inverse_of(fabsf(x) + kShift);
  float sum = kTerms[0];
  for (int i = 1; i < static_cast<int>(sizeof(kTerms) / sizeof(float)); ++i) sum = fmaf(sum, t, kTerms[i]);
  return sum * t;
}

ORRERY_HOST_DEVICE inline float value(float x) {
  return x * fabsf(fmaf(-density(x), mills_ratio(x), is_positive(x)));
}
ORRERY_HOST_DEVICE inline float derivative(float x) {
  const float s = is_positive(x);
  return fmaf(density(x), fmaf(fmaf(-2, s, 1), mills_ratio(x), x), s);
}

}  // namespace orrery::kernels::gelu
