// The fused CUDA kernels against their CPU twins: elementwise ones to the last bit; those with sums over a
// row to what the order of float32 sums and one rounding of the result allow, with float64 twins as the
// measure in backward.
#include <ATen/Context.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "autograd/tape.h"
#include "base/rng.h"
#include "ops/activation.h"
#include "ops/adaln.h"
#include "ops/kernels.h"
#include "ops/norm.h"
#include "ops/norm_rope.h"
#include "ops/rope.h"

namespace orrery {
namespace {

namespace cpu = kernels::cpu;
namespace cuda = kernels::cuda;
using Sizes = std::vector<int64_t>;

at::Tensor draw(std::string_view name, const Sizes& shape, at::ScalarType type) {
  return Rng(1, name).normal_tensor(shape).to(type);
}
at::Tensor in_double(const at::Tensor& t) {
  return t.to(at::kDouble);
}

// Largest relative error of one rounding to the type: half the distance of neighbours.
double rounding(at::ScalarType type) {
  return type == at::kBFloat16 ? 0x1p-8 : type == at::kHalf ? 0x1p-11 : 0x1p-24;
}
// Of float32 sums of some thousand terms of size 1, whose rounding errors of 2^-24 add up like random steps;
// a wrong term would show as 1e-3.
constexpr double kSums = 1e-5;

// |got - want| <= rounding |want| + sums max|want| + smallest everywhere; names the worst element if not.
testing::AssertionResult within(const at::Tensor& got, const at::Tensor& want, double rounding, double sums) {
  if (!got.defined() || got.sizes() != want.sizes())
    return testing::AssertionFailure()
           << "got " << (got.defined() ? got.sizes() : at::IntArrayRef{}) << ", wanted " << want.sizes();
  if (want.numel() == 0) return testing::AssertionSuccess();
  constexpr double kSmallest = 0x1p-24;  // float16 has no finer steps
  const at::Tensor g = in_double(got.cpu()), w = in_double(want);
  const at::Tensor bound = w.abs() * rounding + (sums * w.abs().max().item<double>() + kSmallest);
  const at::Tensor excess = ((g - w).abs() / bound).flatten();
  const double worst = excess.max().item<double>();
  if (worst <= 1) return testing::AssertionSuccess();  // NaN fails
  const int64_t at = excess.argmax().item<int64_t>();
  return testing::AssertionFailure() << "element " << at << " of " << want.sizes() << " is "
                                     << g.flatten()[at].item<double>() << ", wanted "
                                     << w.flatten()[at].item<double>() << ": " << worst
                                     << " times the bound; " << excess.gt(1).sum().item<int64_t>()
                                     << " elements are beyond it";
}

testing::AssertionResult same_bits(const at::Tensor& got, const at::Tensor& want) {
  if (got.scalar_type() == want.scalar_type() && at::equal(got.cpu(), want.cpu()))
    return testing::AssertionSuccess();
  if (got.scalar_type() != want.scalar_type() || got.sizes() != want.sizes())
    return testing::AssertionFailure()
           << "got " << got.scalar_type() << got.sizes() << ", wanted " << want.scalar_type() << want.sizes();
  const at::Tensor differs = got.cpu().ne(want.cpu()).flatten();
  const int64_t at = differs.to(at::kInt).argmax().item<int64_t>();
  return testing::AssertionFailure() << differs.sum().item<int64_t>() << " of " << differs.numel()
                                     << " elements differ, first " << at << ": "
                                     << got.cpu().flatten()[at].item<double>() << ", wanted "
                                     << want.cpu().flatten()[at].item<double>();
}

// The same values at an address that no 16-byte access may use.
at::Tensor shifted(const at::Tensor& t) {
  at::Tensor base = at::zeros({t.numel() + 1}, t.options());
  return base.narrow(0, 1, t.numel()).copy_(t.flatten()).view(t.sizes());
}
// The same values in another order of dimensions, so not contiguous.
at::Tensor turned(const at::Tensor& t) {
  return t.dim() < 2 ? t : t.transpose(0, 1).contiguous().transpose(0, 1);
}
// The same values as a chunk of a wider tensor, as the model's modulations are.
at::Tensor chunked(const at::Tensor& t) {
  return at::cat({t, t + 1, t}, -1).chunk(3, -1)[0];
}

struct Shapes {
  Sizes x, modulation;
};
void PrintTo(const Shapes& s, std::ostream* out) {
  *out << at::IntArrayRef(s.x) << " with " << at::IntArrayRef(s.modulation);
}

class CudaTest : public testing::TestWithParam<std::tuple<at::ScalarType, Shapes>> {
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }

 protected:
  at::ScalarType type() const { return std::get<0>(GetParam()); }
  at::Tensor x(std::string_view name) const { return draw(name, std::get<1>(GetParam()).x, type()); }
  at::Tensor modulation(std::string_view name) const {
    return draw(name, std::get<1>(GetParam()).modulation, type());
  }
};

const auto kTypes = testing::Values(at::kFloat, at::kBFloat16, at::kHalf);

// gated_add

class FusedModulation : public CudaTest {};

TEST_P(FusedModulation, gated_add_has_the_bits_of_the_twin) {
  const at::Tensor a = x("x"), gate = modulation("gate"), b = x("y"), want = cpu::gated_add(a, gate, b);
  const at::Tensor ac = a.cuda(), gc = gate.cuda(), bc = b.cuda();
  EXPECT_TRUE(same_bits(cuda::gated_add(ac, gc, bc), want));
  EXPECT_TRUE(same_bits(cuda::gated_add(turned(ac), gc, bc), want)) << "x not contiguous";
  EXPECT_TRUE(same_bits(cuda::gated_add(ac, chunked(gc), bc), want)) << "the gate is a chunk";
  EXPECT_TRUE(same_bits(cuda::gated_add(ac, turned(gc), bc), want)) << "the gate is not contiguous";
  EXPECT_TRUE(same_bits(cuda::gated_add(ac, gc, shifted(bc)), want)) << "y not aligned";
}

TEST_P(FusedModulation, gated_add_backward_is_the_twins_in_float64) {
  const at::Tensor dout = x("dout"), gate = modulation("gate"), y = x("y");
  const auto grads = [&](const at::Tensor& g, const at::Tensor& w, const at::Tensor& v, const auto& run) {
    return run(g, {.gate = w, .y = v, .gate_shape = w.sizes(), .wants_dgate = true, .wants_dy = true});
  };
  const auto want = grads(in_double(dout), in_double(gate), in_double(y), cpu::gated_add_backward);
  for (const bool is_aligned : {true, false}) {
    const at::Tensor g = is_aligned ? dout.cuda() : shifted(dout.cuda());
    const auto got = grads(g, chunked(gate.cuda()), turned(y.cuda()), cuda::gated_add_backward);
    EXPECT_TRUE(within(got.dy, want.dy, rounding(type()), 0)) << "dy, aligned: " << is_aligned;
    EXPECT_TRUE(within(got.dgate, want.dgate, rounding(type()), kSums)) << "dgate, aligned: " << is_aligned;
    const auto again = grads(g, chunked(gate.cuda()), turned(y.cuda()), cuda::gated_add_backward);
    EXPECT_TRUE(same_bits(again.dgate, got.dgate)) << "a second run of the same";
  }
}

// adaln

// Where the float32 norm lies beside a rounding boundary of a half type, twin and kernel may round it to
// neighbours: such elements differ by two roundings' widths, and they are rare.
testing::AssertionResult rounds_alike(const at::Tensor& got, const at::Tensor& want, const at::Tensor& scale,
                                      at::ScalarType type) {
  const at::Tensor w = in_double(want), gain = (1 + in_double(scale)).abs();
  const double step = type == at::kFloat ? 1e-5 : 4 * rounding(type);
  const at::Tensor bound = (w.abs() + gain * 8) * step;  // a norm is below 8 but for single outliers
  const at::Tensor error = (in_double(got.cpu()) - w).abs();
  if (const at::Tensor excess = error / bound; excess.max().item<double>() > 1)
    return testing::AssertionFailure()
           << "element " << excess.argmax().item<int64_t>() << " of " << want.sizes() << " is "
           << excess.max().item<double>() << " times beyond one step of the norm";
  const auto differing = error.gt(0).sum().item<int64_t>(), allowed = 2 + want.numel() / 500;
  if (type != at::kFloat && differing > allowed)
    return testing::AssertionFailure() << differing << " of " << want.numel() << " elements differ, allowed "
                                       << allowed << ": a rounding is at another place";
  return testing::AssertionSuccess();
}

TEST_P(FusedModulation, adaln_rounds_where_the_twin_does) {
  const at::Tensor a = x("x"), scale = modulation("scale"), shift = modulation("shift");
  const auto want = cpu::adaln(a, scale, shift, 1e-6);
  const at::Tensor ac = a.cuda(), sc = scale.cuda(), tc = shift.cuda();
  const auto got = cuda::adaln(ac, sc, tc, 1e-6);
  EXPECT_TRUE(rounds_alike(got.y, want.y, scale, type()));
  EXPECT_TRUE(within(got.mean, want.mean, kSums, kSums)) << "mean";
  EXPECT_TRUE(within(got.rstd, want.rstd, kSums, 0)) << "rstd";
  EXPECT_TRUE(same_bits(cuda::adaln(ac, sc, tc, 1e-6).y, got.y)) << "a second run of the same";
  EXPECT_TRUE(same_bits(cuda::adaln(turned(ac), chunked(sc), turned(tc), 1e-6).y, got.y)) << "other strides";
  EXPECT_TRUE(rounds_alike(cuda::adaln(shifted(ac), sc, tc, 1e-6).y, want.y, scale, type()))
      << "x not aligned";
}

TEST_P(FusedModulation, adaln_backward_is_the_twins_in_float64) {
  const at::Tensor a = x("x"), scale = modulation("scale"), shift = modulation("shift"), dout = x("dout");
  const auto grads = [&](const auto& forward, const auto& backward, const at::Tensor& v, const at::Tensor& s,
                         const at::Tensor& t, const at::Tensor& g) {
    const auto [y, mean, rstd] = forward(v, s, t, 1e-6);
    return backward(g, {.x = v,
                        .scale = s,
                        .mean = mean,
                        .rstd = rstd,
                        .shift_shape = t.sizes(),
                        .wants_dx = true,
                        .wants_dscale = true,
                        .wants_dshift = true});
  };
  const auto want = grads(cpu::adaln, cpu::adaln_backward, in_double(a), in_double(scale), in_double(shift),
                          in_double(dout));
  for (const bool is_aligned : {true, false}) {
    const at::Tensor g = is_aligned ? dout.cuda() : shifted(dout.cuda());
    const auto run = [&] {
      return grads(cuda::adaln, cuda::adaln_backward, turned(a.cuda()), chunked(scale.cuda()), shift.cuda(),
                   g);
    };
    const cpu::AdaLNGrads got = run(), again = run();
    EXPECT_TRUE(within(got.dx, want.dx, rounding(type()), kSums)) << "dx, aligned: " << is_aligned;
    EXPECT_TRUE(within(got.dscale, want.dscale, rounding(type()), kSums))
        << "dscale, aligned: " << is_aligned;
    EXPECT_TRUE(within(got.dshift, want.dshift, rounding(type()), kSums))
        << "dshift, aligned: " << is_aligned;
    EXPECT_TRUE(same_bits(again.dx, got.dx)) << "a second run of the same";
    EXPECT_TRUE(same_bits(again.dscale, got.dscale)) << "a second run of the same";
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, FusedModulation,
    testing::Combine(kTypes,
                     testing::Values(Shapes{{2, 3, 5, 7, 33}, {2, 3, 1, 1, 33}},
                                     Shapes{{2, 3, 4, 4, 256}, {2, 3, 1, 1, 256}},
                                     Shapes{{1, 2, 9, 9, 2048}, {1, 2, 1, 1, 2048}},
                                     Shapes{{1, 2, 9, 9, 130}, {1, 1, 1, 1, 130}},
                                     Shapes{{2, 50, 50, 64}, {2, 1, 1, 64}},     // many strips
                                     Shapes{{1, 3, 5120}, {1, 1, 5120}},         // several packs a thread
                                     Shapes{{2, 5, 14, 5120}, {2, 1, 1, 5120}},  // several turns of rows
                                     Shapes{{1, 67, 2584}, {1, 1, 2584}}, Shapes{{1, 5, 4096}, {1, 1, 4096}},
                                     Shapes{{1, 3, 8192}, {1, 3, 8192}},  // a row each
                                     Shapes{{1, 3, 1999}, {1, 1, 1999}}, Shapes{{2, 3, 5003}, {2, 1, 5003}},
                                     Shapes{{1, 2, 9000}, {1, 1, 9000}},  // too wide: the reference
                                     Shapes{{1, 1, 5}, {1, 1, 5}}, Shapes{{5, 8}, {1, 8}},
                                     Shapes{{2, 3, 16}, {1, 3, 16}})));  // not a run of ones: nor this

TEST(FusedEdges, of_empty_and_single_elements) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const auto device = at::TensorOptions().device(at::kCUDA).dtype(at::kBFloat16);
  const at::Tensor empty = at::zeros({0, 3, 4}, device), none = at::zeros({0, 1, 4}, device);
  EXPECT_EQ(cuda::gated_add(empty, none, empty).sizes(), empty.sizes());
  EXPECT_EQ(cuda::adaln(empty, none, none, 1e-6).y.sizes(), empty.sizes());
  EXPECT_EQ(cuda::rms_norm(empty, at::ones({4}, device), 1e-6).y.sizes(), empty.sizes());
  // A row of one element has no spread: the norm is 0 and its gradient too.
  const at::Tensor one = at::ones({1, 1, 1}, device);
  EXPECT_EQ(cuda::adaln(one, one, one, 1e-6).y.item<float>(), 1);
  EXPECT_TRUE(same_bits(cuda::gated_add(one, one, one), at::full({1, 1, 1}, 2, at::kBFloat16)));
}

TEST(FusedEdges, float64_goes_to_the_reference) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const at::Tensor a = draw("x", {2, 3, 8}, at::kDouble), m = draw("m", {2, 1, 8}, at::kDouble);
  EXPECT_TRUE(
      within(cuda::adaln(a.cuda(), m.cuda(), m.cuda(), 1e-6).y, cpu::adaln(a, m, m, 1e-6).y, 1e-13, 0));
  EXPECT_TRUE(same_bits(cuda::gated_add(a.cuda(), m.cuda(), a.cuda()), cpu::gated_add(a, m, a)));
}

TEST(FusedEdges, a_gradient_that_nobody_wants_is_not_made) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const at::Tensor a = draw("x", {2, 3, 8}, at::kFloat).cuda(), m = draw("m", {2, 1, 8}, at::kFloat).cuda();
  const auto only_dy = cuda::gated_add_backward(
      a, {.gate = m, .y = {}, .gate_shape = m.sizes(), .wants_dgate = false, .wants_dy = true});
  EXPECT_FALSE(only_dy.dgate.defined());
  EXPECT_TRUE(same_bits(only_dy.dy, (a * m).cpu()));
  const auto [y, mean, rstd] = cuda::adaln(a, m, m, 1e-6);
  const auto only_dx = cuda::adaln_backward(a, {.x = a,
                                                .scale = m,
                                                .mean = mean,
                                                .rstd = rstd,
                                                .shift_shape = m.sizes(),
                                                .wants_dx = true,
                                                .wants_dscale = false,
                                                .wants_dshift = false});
  EXPECT_TRUE(only_dx.dx.defined());
  EXPECT_FALSE(only_dx.dscale.defined() || only_dx.dshift.defined());
}

// rms_norm and rope

class FusedHeads : public CudaTest {};

TEST_P(FusedHeads, rms_norm_is_the_twins) {
  const at::Tensor a = x("x");
  for (const at::ScalarType weight_type : {at::kFloat, type()}) {
    const at::Tensor weight = modulation("weight").to(weight_type);
    const auto want = cpu::rms_norm(in_double(a), in_double(weight), 1e-6);
    const auto got = cuda::rms_norm(a.cuda(), weight.cuda(), 1e-6);
    EXPECT_TRUE(within(got.y, want.y, rounding(type()), kSums)) << "weight " << weight_type;
    EXPECT_TRUE(within(got.rstd, want.rstd, kSums, 0)) << "weight " << weight_type;
    EXPECT_TRUE(same_bits(cuda::rms_norm(turned(a.cuda()), weight.cuda(), 1e-6).y, got.y)) << "other strides";
    const auto apart = cuda::rms_norm(shifted(a.cuda()), weight.cuda(), 1e-6);
    EXPECT_TRUE(within(apart.y, want.y, rounding(type()), kSums)) << "x not aligned";
  }
}

TEST_P(FusedHeads, rms_norm_backward_is_the_twins_in_float64) {
  const at::Tensor a = x("x"), dout = x("dout"), weight = modulation("weight");
  const auto grads = [&](const auto& forward, const auto& backward, const at::Tensor& v, const at::Tensor& w,
                         const at::Tensor& g) {
    const at::Tensor rstd = forward(v, w, 1e-6).rstd;
    return backward(g, {.x = v, .weight = w, .rstd = rstd, .wants_dx = true, .wants_dweight = true});
  };
  const auto want =
      grads(cpu::rms_norm, cpu::rms_norm_backward, in_double(a), in_double(weight), in_double(dout));
  for (const bool is_aligned : {true, false}) {
    const at::Tensor g = is_aligned ? dout.cuda() : shifted(dout.cuda());
    const auto run = [&] {
      return grads(cuda::rms_norm, cuda::rms_norm_backward, turned(a.cuda()), weight.cuda(), g);
    };
    const cpu::RmsNormGrads got = run(), again = run();
    EXPECT_TRUE(within(got.dx, want.dx, rounding(type()), kSums)) << "dx, aligned: " << is_aligned;
    EXPECT_TRUE(within(got.dweight, want.dweight, rounding(type()), kSums))
        << "dweight, aligned: " << is_aligned;
    EXPECT_TRUE(same_bits(again.dweight, got.dweight)) << "a second run of the same";
  }
}

TEST_P(FusedHeads, rope_has_the_bits_of_the_twin_both_ways) {
  const at::Tensor a = x("x");
  if (a.size(-1) % 2 != 0) GTEST_SKIP() << "rope takes pairs";
  const at::Tensor angle = draw("angle", {a.size(1), a.size(3) / 2}, at::kFloat), cos = angle.cos(),
                   sin = angle.sin();
  const at::Tensor ac = a.cuda(), cc = cos.cuda(), sc = sin.cuda();
  EXPECT_TRUE(same_bits(cuda::rope(ac, cc, sc), cpu::rope(a, cos, sin)));
  EXPECT_TRUE(same_bits(cuda::rope_inverse(ac, cc, sc), cpu::rope_inverse(a, cos, sin)));
  EXPECT_TRUE(same_bits(cuda::rope(turned(ac), turned(cc), sc), cpu::rope(a, cos, sin))) << "other strides";
  EXPECT_TRUE(same_bits(cuda::rope(shifted(ac), cc, sc), cpu::rope(a, cos, sin))) << "x not aligned";
}

// Against the two kernels it stands for; backward also against the twin in float64, of the same roundings.
TEST_P(FusedHeads, rms_norm_rope_is_both_however_it_is_split) {
  const at::Tensor a = x("x"), dout = x("dout"), weight = modulation("weight");
  if (a.size(-1) % 2 != 0) GTEST_SKIP() << "rope takes pairs";
  const at::Tensor angle = draw("angle", {a.size(1), a.size(3) / 2}, at::kFloat), cos = angle.cos(),
                   sin = angle.sin();
  const auto rms = cuda::rms_norm(a.cuda(), weight.cuda(), 1e-6);
  const at::Tensor y = cuda::rope(rms.y, cos.cuda(), sin.cuda());
  const auto want = cpu::rms_norm_backward(in_double(cpu::rope_inverse(dout, cos, sin)),
                                           {.x = in_double(a),
                                            .weight = in_double(weight),
                                            .rstd = cpu::rms_norm(in_double(a), in_double(weight), 1e-6).rstd,
                                            .wants_dx = true,
                                            .wants_dweight = true});
  for (const HeadSplit split :
       {HeadSplit{}, HeadSplit{.receivers = 2, .groups = 1}, HeadSplit{.receivers = 2, .groups = 2},
        HeadSplit{.receivers = 7, .groups = 1}, HeadSplit{.receivers = 8, .groups = 1},
        HeadSplit{.receivers = 4, .groups = 2}, HeadSplit{.receivers = 2, .groups = 4}}) {
    if (!split.divides(a.size(2))) continue;
    const kernels::HeadTurn turn{cos.cuda(), sin.cuda(), split};
    const auto got = cuda::rms_norm_rope(turned(a.cuda()), weight.cuda(), 1e-6, turn);
    EXPECT_TRUE(same_bits(joined_heads(got.y, split), y)) << split.receivers << " x " << split.groups;
    EXPECT_TRUE(same_bits(got.rstd, rms.rstd));
    const auto run = [&](const at::Tensor& g) {
      return cuda::rms_norm_rope_backward(
          g,
          {.x = a.cuda(), .weight = weight.cuda(), .rstd = rms.rstd, .wants_dx = true, .wants_dweight = true},
          turn);
    };
    const at::Tensor g = split_heads(dout.cuda(), split);
    const cpu::RmsNormGrads grads = run(g), again = run(shifted(g));
    EXPECT_TRUE(within(grads.dx, want.dx, rounding(type()), kSums))
        << split.receivers << " x " << split.groups;
    EXPECT_TRUE(within(grads.dweight, want.dweight, rounding(type()), kSums)) << split.receivers;
    EXPECT_TRUE(same_bits(again.dx, grads.dx) && same_bits(again.dweight, grads.dweight)) << "not aligned";
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, FusedHeads,
    testing::Combine(kTypes, testing::Values(Shapes{{2, 3, 4, 128}, {128}}, Shapes{{1, 700, 7, 128}, {128}},
                                             Shapes{{1, 9000, 16, 16}, {16}},  // many blocks
                                             Shapes{{2, 5, 3, 64}, {64}}, Shapes{{2, 5, 3, 33}, {33}},
                                             Shapes{{1, 7, 2, 130}, {130}}, Shapes{{1, 3, 5, 256}, {256}},
                                             Shapes{{1, 3, 5, 264}, {264}},  // too wide
                                             Shapes{{2, 5, 40, 128}, {128}}, Shapes{{1, 3, 255, 64}, {64}},
                                             Shapes{{1, 3, 256, 64}, {64}}, Shapes{{1, 1, 1, 2}, {2}})));

// The ops take the kernels on CUDA tensors: a forward and backward of all four on both devices.
TEST(FusedOps, train_alike_on_both_devices) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const auto gradients = [](c10::Device device) {
    const auto leaf = [&](std::string_view name, const Sizes& shape) {
      return Variable(draw(name, shape, at::kFloat).to(device), /*needs_grad=*/true);
    };
    const Variables in = {leaf("x", {2, 6, 4, 16}), leaf("scale", {2, 1, 1, 16}),
                          leaf("shift", {2, 1, 1, 16}), leaf("weight", {16}), leaf("gate", {2, 1, 1, 16})};
    const at::Tensor angle = draw("angle", {6, 8}, at::kFloat).to(device);
    Recording recording;
    const Variable normed = ops::rms_norm(ops::adaln(in[0], in[1], in[2], 1e-6), in[3], 1e-6);
    const Variable turned = ops::rope(ops::gelu(normed), angle.cos(), angle.sin());
    const Variable heads = ops::rms_norm_rope(turned, in[3], 1e-6, angle.cos(), angle.sin(), {});
    const Variable y = ops::gated_add(in[0], in[4], heads);
    recording.backward({{y, draw("dy", {2, 6, 4, 16}, at::kFloat).to(device)}});
    std::vector<at::Tensor> out = {y.value().cpu()};
    for (const Variable& v : in) out.push_back(v.grad().cpu());
    return out;
  };
  const auto want = gradients(at::kCPU), got = gradients(c10::Device(at::kCUDA, 0));
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_TRUE(within(got[i], want[i], kSums, kSums)) << "result " << i << " of y, dx, dscale, dshift, ...";
}

}  // namespace
}  // namespace orrery
