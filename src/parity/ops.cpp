#include "parity/ops.h"

#include <cmath>

#include "ops/adaln.h"
#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/norm.h"
#include "ops/shape.h"
#include "parity/derivatives.h"

namespace orrery {
namespace {

// (B,T,D) -> (B,T,1,1,D), so that it broadcasts over the rows and columns of a frame.
Variable per_frame(const Variable& x_BTD) {
  require(x_BTD.dim() == 3, "modulation of shape ", at::IntArrayRef(x_BTD.shape()), ", wanted [B,T,D]");
  return ops::reshape(x_BTD, {x_BTD.size(0), x_BTD.size(1), 1, 1, x_BTD.size(2)});
}

}  // namespace

NamedTensors run_op_adaln(const Case& c, at::Device device) {
  const NamedVariables in = input_variables(c, device, {"x", "scale", "shift"});
  return run_with_derivatives(c, in, {}, [&]() -> NamedVariables {
    const Variable scale = per_frame(in.at("scale")), shift = per_frame(in.at("shift"));
    return {{"y", ops::adaln(in.at("x"), scale, shift, c.option<double>("eps"))}};
  });
}

NamedTensors run_op_gated_add(const Case& c, at::Device device) {
  const NamedVariables in = input_variables(c, device, {"x", "gate", "branch"});
  return run_with_derivatives(c, in, {}, [&]() -> NamedVariables {
    const Variable gate = per_frame(in.at("gate"));
    return {{"y", ops::gated_add(in.at("x"), gate, in.at("branch"))}};
  });
}

NamedTensors run_op_rms_norm(const Case& c, at::Device device) {
  struct Net final : Module {
    explicit Net(int64_t dim) : weight(this, "weight", {dim}, Init::ones()) {}
    Parameter weight;
  } net(c.count_option("dim"));
  const NamedVariables in = input_variables(c, device, {"x"}), weights = load_weights(net, c, device);
  return run_with_derivatives(c, in, weights, [&]() -> NamedVariables {
    return {{"y", ops::rms_norm(in.at("x"), net.weight, c.option<double>("eps"))}};
  });
}

NamedTensors run_op_attention(const Case& c, at::Device device) {
  const NamedVariables in = input_variables(c, device, {"q", "k", "v"});
  return run_with_derivatives(c, in, {}, [&]() -> NamedVariables {
    const Variable& q = in.at("q");
    const auto [out, lse] = ops::attention_with_lse(q, in.at("k"), in.at("v"));
    return {{"out", ops::reshape(out, {q.size(0), q.size(1), q.size(2) * q.size(3)})},
            {"lse", Variable(lse)}};
  });
}

NamedTensors run_op_attention_jvp(const Case& c, at::Device device) {
  require(c.option_or<std::string>("layout", "BSHD") == "BSHD", "op_attention_jvp: layout is not BSHD");
  const NamedVariables in = input_variables(c, device, {"q", "k", "v"});
  return run_with_derivatives(c, in, {}, [&]() -> NamedVariables {
    const Variable& q = in.at("q");
    const double own =
        1 / std::sqrt(static_cast<double>(q.size(3)));  // what ops::attention multiplies scores with
    const double scale = c.option_or("scale", own);
    const Variable scaled = scale == own ? q : ops::scale(q, scale / own);
    return {{"out", ops::attention(scaled, in.at("k"), in.at("v"))}};
  });
}

}  // namespace orrery
