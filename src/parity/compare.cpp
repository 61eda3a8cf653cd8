#include "parity/compare.h"

#include <ATen/ops/eq.h>
#include <ATen/ops/ne.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace orrery {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Both norms of values scaled by the largest, so that squares neither overflow nor vanish.
double relative_l2(const at::Tensor& got, const at::Tensor& want) {
  const at::Tensor g = got.to(at::kCPU, at::kDouble), w = want.to(at::kDouble);
  const double scale = w.numel() == 0 ? 0 : w.abs().max().item<double>();
  if (scale == 0) return g.numel() == 0 || g.eq(0).all().item<bool>() ? 0 : kInfinity;
  const at::Tensor wanted = w / scale;
  return (g / scale - wanted).norm().item<double>() / wanted.norm().item<double>();
}

bool same_bits(const at::Tensor& got, const at::Tensor& want) {
  const at::Tensor g = got.cpu().contiguous(), w = want.contiguous();
  return g.scalar_type() == w.scalar_type() &&
         (g.nbytes() == 0 || std::memcmp(g.const_data_ptr(), w.const_data_ptr(), g.nbytes()) == 0);
}

// The same bits meet a tolerance of 0, NaN included.
void compare_floats(const at::Tensor& got, const at::Tensor& want, Comparison& entry) {
  if (entry.tolerance == 0 && same_bits(got, want)) {
    entry.error = 0;
    entry.passed = true;
    return;
  }
  entry.error = relative_l2(got, want);
  entry.passed = entry.error <= entry.tolerance;  // false for NaN
  if (std::isnan(entry.error)) entry.problem = "not finite";
  if (entry.error == kInfinity) entry.problem = "must be exactly zero";
}

void compare_integers(const at::Tensor& got, const at::Tensor& want, const IntTolerance& allowed,
                      Comparison& entry) {
  const at::Tensor g = got.to(at::kCPU, at::kLong), w = want.to(at::kLong);
  entry.tolerance = allowed.max_fraction;
  entry.passed = true;
  if (w.numel() == 0) return;
  const at::Tensor differs = g.ne(w);
  entry.error = differs.to(at::kDouble).mean().item<double>();
  // As doubles: the difference of two 64-bit integers may not fit in one.
  const double largest = (g.to(at::kDouble) - w.to(at::kDouble)).abs().max().item<double>();
  const bool close = entry.error == 0 || largest <= static_cast<double>(allowed.max_abs);
  entry.passed = close && entry.error <= allowed.max_fraction;
  if (!close) entry.problem = text_of("differs by ", largest, ", allowed ", allowed.max_abs);
}

bool is_whole(const at::Tensor& tensor) {
  return c10::isIntegralType(tensor.scalar_type(), /*includeBool=*/true);
}

Comparison compare_one(const Case& c, const std::string& name, const at::Tensor& want,
                       const at::Tensor& got) {
  Comparison entry{name, kInfinity, tolerance_of(c, name).value_or(0), false, ""};
  if (!got.defined()) {
    entry.problem = "missing";
  } else if (got.sizes() != want.sizes()) {
    entry.problem = text_of("shape ", got.sizes(), ", wanted ", want.sizes());
  } else if (is_whole(got) != is_whole(want)) {
    entry.problem = text_of("dtype ", got.scalar_type(), ", wanted ", want.scalar_type());
  } else if (is_whole(want)) {
    const auto allowed = c.int_tolerance.find(name);
    compare_integers(got, want, allowed == c.int_tolerance.end() ? IntTolerance{} : allowed->second, entry);
  } else {
    compare_floats(got, want, entry);
  }
  return entry;
}

double severity(const Comparison& entry) {
  if (entry.error == 0) return 0;
  return std::isnan(entry.error) || entry.tolerance == 0 ? kInfinity : entry.error / entry.tolerance;
}

}  // namespace

std::vector<Comparison> compare(const Case& c, const NamedTensors& results) {
  std::vector<Comparison> all;
  for (const auto& [name, want] : c.expected) {
    const auto got = results.find(name);
    all.push_back(compare_one(c, name, want, got == results.end() ? at::Tensor() : got->second));
  }
  for (const auto& [name, unused] : results)
    if (c.expected.count(name) == 0) all.push_back({name, kInfinity, 0, false, "not expected by the file"});
  return all;
}

const Comparison& worst(const std::vector<Comparison>& all) {
  require(!all.empty(), "no comparison");
  return *std::max_element(all.begin(), all.end(), [](const Comparison& a, const Comparison& b) {
    return a.passed != b.passed ? a.passed : severity(a) < severity(b);
  });
}

}  // namespace orrery
