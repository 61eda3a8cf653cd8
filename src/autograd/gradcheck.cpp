#include "autograd/gradcheck.h"

#include <cmath>

#include "autograd/tape.h"
#include "base/error.h"
#include "base/rng.h"

namespace orrery {
namespace {

using Function = std::function<Variables(const Variables&)>;
constexpr double kStep = 1e-5;

double dot(const at::Tensor& a, const at::Tensor& b) {
  return (a * b).sum().item<double>();
}

double dot(const Tensors& a, const Tensors& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].defined() && b[i].defined()) sum += dot(a[i], b[i]);
  return sum;
}

Tensors values(const Variables& v) {
  Tensors out;
  for (const Variable& x : v) out.push_back(x.value());
  return out;
}

Tensors evaluate(const Function& f, const Tensors& at, const Tensors& direction, double step) {
  Variables in;
  for (size_t i = 0; i < at.size(); ++i)
    in.emplace_back(direction[i].defined() ? at[i] + direction[i] * step : at[i]);
  return values(f(in));
}

// <c, (f(x + h t) - f(x - h t)) / 2h>
double difference_quotient(const Function& f, const Tensors& at, const Tensors& direction,
                           const Tensors& cotangents) {
  const Tensors plus = evaluate(f, at, direction, kStep), minus = evaluate(f, at, direction, -kStep);
  double sum = 0;
  for (size_t i = 0; i < plus.size(); ++i) sum += dot(cotangents[i], (plus[i] - minus[i]) / (2 * kStep));
  return sum;
}

Tensors gradients(const Function& f, const Tensors& at, const std::vector<bool>& differentiable,
                  const Tensors& cotangents) {
  Variables in;
  for (size_t i = 0; i < at.size(); ++i) in.emplace_back(at[i], differentiable[i]);
  Recording recording;
  const Variables out = f(in);
  std::vector<Recording::Seed> seeds;
  for (size_t i = 0; i < out.size(); ++i) seeds.push_back({out[i], cotangents[i]});
  recording.backward(seeds);
  Tensors grads;
  for (const Variable& v : in) grads.push_back(v.grad());
  return grads;
}

double tangent_product(const Function& f, const Tensors& at, const Tensors& direction,
                       const Tensors& cotangents) {
  Variables in;
  for (size_t i = 0; i < at.size(); ++i) in.push_back(Variable(at[i]).with_tangent(direction[i]));
  const Variables out = f(in);
  Tensors tangents;
  for (const Variable& v : out) tangents.push_back(v.tangent());
  return dot(cotangents, tangents);
}

}  // namespace

GradcheckReport gradcheck(const Function& f, const Tensors& inputs, std::vector<bool> differentiable,
                          double tolerance, uint64_t seed) {
  if (differentiable.empty()) differentiable.assign(inputs.size(), true);
  for (const at::Tensor& x : inputs)
    require(!x.is_floating_point() || x.scalar_type() == at::kDouble, "gradcheck: inputs must be float64");
  const auto random_like = [&](const at::Tensor& x, uint64_t number) {
    return Rng(seed, "gradcheck", {number}).normal_tensor(x.sizes()).to(at::kDouble);
  };
  Tensors direction, cotangents;
  for (size_t i = 0; i < inputs.size(); ++i)
    direction.push_back(differentiable[i] ? random_like(inputs[i], i) : at::Tensor());
  const Tensors out = evaluate(f, inputs, Tensors(inputs.size()), 0);
  for (size_t i = 0; i < out.size(); ++i) cotangents.push_back(random_like(out[i], 1000 + i));

  const Tensors grads = gradients(f, inputs, differentiable, cotangents);
  const double quotient = difference_quotient(f, inputs, direction, cotangents);
  const double forward = tangent_product(f, inputs, direction, cotangents);
  const double reverse = dot(grads, direction);
  const double scale = std::max({1.0, std::abs(quotient), std::abs(forward)});
  GradcheckReport report;
  report.adjoint = std::abs(forward - reverse) / scale;
  report.central_difference = std::abs(forward - quotient) / scale;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!differentiable[i]) continue;
    Tensors alone(inputs.size());
    alone[i] = direction[i];
    const double want = difference_quotient(f, inputs, alone, cotangents);
    const double got = grads[i].defined() ? dot(grads[i], direction[i]) : 0;
    const double error = std::abs(got - want) / std::max(1.0, std::abs(want));
    if (error >= report.per_input) {
      report.per_input = error;
      report.worst_input = text_of("input ", i);
    }
  }
  require(report.adjoint <= 1e-10 && report.central_difference <= tolerance && report.per_input <= tolerance,
          "gradcheck: adjoint identity ", report.adjoint, " (1e-10), jvp against central difference ",
          report.central_difference, ", gradient against central difference ", report.per_input, " at ",
          report.worst_input, " (", tolerance, ")");
  return report;
}

}  // namespace orrery
