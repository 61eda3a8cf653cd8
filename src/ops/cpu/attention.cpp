// Attention on any device in plain ATen, and on CPU tensors through ATen's blocked kernel, which never holds
// a whole score matrix. tests/ops/attention_test.cpp holds the two against each other.
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>

#include "ops/kernels.h"
#include "ops/numeric.h"

namespace orrery::kernels::cpu {
namespace {

at::Tensor heads_first(const at::Tensor& x) {
  return x.transpose(1, 2);
}  // (B,S,n,d) <-> (B,n,S,d)

// What ATen's blocked kernel takes: it reads and writes heads as rows of d adjacent numbers, whatever the
// strides, and lays out its results as its inputs.
at::Tensor blocked(const at::Tensor& x) {
  return heads_first(x.stride(-1) == 1 ? x : x.contiguous());
}

// softmax(q k^T scale) from a stored log-sum-exp, accumulation type, (B,n,Sq,Sk)
at::Tensor probabilities(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse, double scale) {
  const at::Tensor scores =
      at::matmul(to_acc(heads_first(q)), to_acc(heads_first(k)).transpose(-1, -2)) * scale;
  return (scores - lse.unsqueeze(-1)).exp_();
}

}  // namespace

Attention attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale) {
  if (q.is_meta()) return meta::attention(q, k);
  if (q.is_cpu()) {
    auto [out, lse] = at::_scaled_dot_product_flash_attention_for_cpu(blocked(q), blocked(k), blocked(v), 0.0,
                                                                      false, {}, scale);
    return {heads_first(out), lse};
  }
  const at::Tensor scores =
      at::matmul(to_acc(heads_first(q)), to_acc(heads_first(k)).transpose(-1, -2)) * scale;
  const at::Tensor lse = at::logsumexp(scores, {-1});
  const at::Tensor out = at::matmul((scores - lse.unsqueeze(-1)).exp_(), to_acc(heads_first(v)));
  return {heads_first(out).contiguous().to(q.scalar_type()), lse};
}

AttentionGrads attention_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                  const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                                  double scale) {
  if (q.is_meta()) return meta::attention_backward(q, k);
  if (q.is_cpu()) {
    auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        blocked(dout), blocked(q), blocked(k), blocked(v), blocked(out), lse, 0.0, false, {}, scale);
    return {heads_first(dq), heads_first(dk), heads_first(dv)};
  }
  const at::Tensor p = probabilities(q, k, lse, scale), d = to_acc(heads_first(dout));
  const at::Tensor dv = at::matmul(p.transpose(-1, -2), d);
  const at::Tensor dp = at::matmul(d, to_acc(heads_first(v)).transpose(-1, -2));
  const at::Tensor row = (d * to_acc(heads_first(out))).sum(-1, true);
  const at::Tensor ds = p * (dp - row) * scale;
  const at::Tensor dq = at::matmul(ds, to_acc(heads_first(k)));
  const at::Tensor dk = at::matmul(ds.transpose(-1, -2), to_acc(heads_first(q)));
  const auto back = [](const at::Tensor& g, const at::Tensor& x) {
    return heads_first(g).to(x.scalar_type());
  };
  return {back(dq, q), back(dk, k), back(dv, v)};
}

at::Tensor attention_jvp(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
                         const at::Tensor& lse, const at::Tensor& tq, const at::Tensor& tk,
                         const at::Tensor& tv, double scale) {
  // With P = softmax(S): t(out) = (P * tS) v - rowsum(P * tS) out + P tv.
  const at::Tensor p = probabilities(q, k, lse, scale);
  const at::Tensor ts = (at::matmul(to_acc(heads_first(tq)), to_acc(heads_first(k)).transpose(-1, -2)) +
                         at::matmul(to_acc(heads_first(q)), to_acc(heads_first(tk)).transpose(-1, -2))) *
                        scale;
  const at::Tensor weighted = p * ts;
  const at::Tensor t = at::matmul(weighted, to_acc(heads_first(v))) -
                       weighted.sum(-1, true) * to_acc(heads_first(out)) +
                       at::matmul(p, to_acc(heads_first(tv)));
  return heads_first(t).to(q.scalar_type());
}

}  // namespace orrery::kernels::cpu
