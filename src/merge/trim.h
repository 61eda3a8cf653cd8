#pragma once
// The largest elements of a task vector, found exactly and without holding it: the trim of TIES. Magnitudes
// are compared as float32; of equal ones those that come first are kept.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace orrery {

// Calls the function with all elements (double, flat) in order, part by part; the same ones each time.
using ElementStream = std::function<void(const std::function<void(const at::Tensor&)>&)>;

// Kept are the elements above the threshold, and of those at it the first `ties`.
struct Cut {
  uint32_t threshold = 0;  // bits of a float32 magnitude, which order as the magnitudes do
  int64_t ties = INT64_MAX;
};

// The cut that keeps `keep` elements. Streams twice: a histogram of the magnitudes' upper 16 bits, then one
// of the lower 15 where the cut lies.
Cut find_cut(int64_t keep, const ElementStream& stream);

int64_t count_at(uint32_t threshold, const at::Tensor& values);  // elements of just this magnitude

// Zeroes in place what the cut drops, and takes from cut.ties what it used.
void apply_cut(Cut& cut, at::Tensor& values);

// max(1, floor(density n)), as mergekit rounds; of nothing, nothing.
int64_t kept_count(double density, int64_t elements);

}  // namespace orrery
