#include "parallel/ulysses.h"

#include <ATen/ops/empty.h>

#include <array>

#include "autograd/scope.h"
#include "autograd/tape.h"
#include "base/error.h"
#include "parallel/head_exchange.h"

namespace orrery {
namespace {

using Flights = std::vector<std::shared_ptr<HeadExchange>>;  // one for each group of heads
using Kind = HeadExchange::Kind;

const int64_t kTokens = 1, kHeads = 2;  // dimensions of (B,S,n,d)

// The two halves of an exchange: one op sends, another one receives what the first left in their common
// HeadExchange. Between them on the tape is a token without elements, so that whoever reads the second's
// results runs the first again where both were evicted. Both have one name, and with it one label and one
// fate under a save policy. A permutation of elements over the ranks, so gradients take the way back and
// tangents the same way.
class UlyssesOp : public Op {
 public:
  UlyssesOp(std::string name, std::vector<std::string> tensors, Flights flights)
      : flights_(std::move(flights)),
        name_(std::move(name)),
        tensors_(std::move(tensors)),
        scope_(Scope::innermost() ? Scope::innermost()->path() : "") {}
  std::string_view name() const override { return name_; }
  bool saves_input(size_t) const override { return false; }

 protected:
  // "blocks.7.self_attn ulysses dq": what a time-out shows.
  std::vector<std::string> labels(Kind kind) const {
    constexpr std::array<std::string_view, 3> kPrefixes = {"", "t", "d"};
    std::vector<std::string> out;
    for (const std::string& tensor : tensors_)
      out.push_back(text_of(scope_, scope_.empty() ? "" : " ", "ulysses ",
                            kPrefixes[static_cast<size_t>(kind)], tensor));
    return out;
  }
  static at::Tensor token(const at::Tensor& like) { return at::empty({0}, like.options()); }
  Flights flights_;

 private:
  std::string name_;
  std::vector<std::string> tensors_;
  std::string scope_;
};

// q, k, v (B,S,n,d) -> a token for each group of heads.
class SendHeads final : public UlyssesOp {
 public:
  using UlyssesOp::UlyssesOp;
  size_t num_results() const override { return flights_.size(); }
  Tensors forward(const Tensors& in) const override { return send(in, Kind::value); }
  Tensors jvp(const Saved&, const Tensors& t) const override { return send(t, Kind::tangent); }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    Tensors din;
    for (size_t i = 0; i < s.num_inputs(); ++i) din.push_back(at::empty(s.in_shape(i), dout[0].options()));
    for (auto flight = flights_.rbegin(); flight != flights_.rend(); ++flight)
      (*flight)->heads(Kind::gradient, din);
    return din;
  }

 private:
  Tensors send(const Tensors& x, Kind kind) const {
    Tensors tokens;
    for (const auto& flight : flights_) {
      flight->send_heads(kind, x, labels(kind));
      tokens.push_back(token(x[0]));
    }
    return tokens;
  }
};

// A token -> q, k, v (B,cS,n',d) of one group of heads.
class ReceiveTokens final : public UlyssesOp {
 public:
  using UlyssesOp::UlyssesOp;
  size_t num_results() const override { return 3; }
  Tensors forward(const Tensors&) const override { return flights_[0]->tokens(Kind::value); }
  Tensors jvp(const Saved&, const Tensors&) const override { return flights_[0]->tokens(Kind::tangent); }
  Tensors backward(const Saved&, const Tensors& dout) const override {
    flights_[0]->send_tokens(Kind::gradient, dout, labels(Kind::gradient));
    return {token(dout[0])};
  }
};

// out (B,cS,n',d) of one group of heads -> a token.
class SendTokens final : public UlyssesOp {
 public:
  using UlyssesOp::UlyssesOp;
  Tensors forward(const Tensors& in) const override { return send(in, Kind::value); }
  Tensors jvp(const Saved&, const Tensors& t) const override { return send(t, Kind::tangent); }
  Tensors backward(const Saved&, const Tensors&) const override {
    return flights_[0]->tokens(Kind::gradient);
  }

 private:
  Tensors send(const Tensors& y, Kind kind) const {
    flights_[0]->send_tokens(kind, y, labels(kind));
    return {token(y[0])};
  }
};

// The tokens of all groups -> out (B,S,n,d).
class ReceiveHeads final : public UlyssesOp {
 public:
  ReceiveHeads(std::string name, std::vector<std::string> tensors, Flights flights, Shape shape)
      : UlyssesOp(std::move(name), std::move(tensors), std::move(flights)), shape_(std::move(shape)) {}
  Tensors forward(const Tensors& in) const override { return receive(in, Kind::value); }
  Tensors jvp(const Saved&, const Tensors& t) const override { return receive(t, Kind::tangent); }
  Tensors backward(const Saved&, const Tensors& dout) const override {
    Tensors tokens(flights_.size());
    for (size_t g = flights_.size(); g-- > 0;) {  // in the order in which backward needs them
      flights_[g]->send_heads(Kind::gradient, dout, labels(Kind::gradient));
      tokens[g] = token(dout[0]);
    }
    return tokens;
  }

 private:
  Tensors receive(const Tensors& tokens, Kind kind) const {
    const at::Tensor out = at::empty(shape_, tokens[0].options());
    for (const auto& flight : flights_) flight->heads(kind, {out});
    return {out};
  }
  Shape shape_;
};

void check(const Variable& q, const Variable& k, const Variable& v, const Comm& comm) {
  require(q.dim() == 4 && q.size(kTokens) > 0 && q.size(kHeads) > 0, "ulysses: q is ",
          at::IntArrayRef(q.shape()), ", wanted (B,S,n,d)");
  require(k.shape() == q.shape() && v.shape() == q.shape(), "ulysses: q is ", at::IntArrayRef(q.shape()),
          ", k ", at::IntArrayRef(k.shape()), ", v ", at::IntArrayRef(v.shape()),
          "; only self-attention is spread over ranks, cross-attention is local");
  require(q.dtype() == k.dtype() && q.dtype() == v.dtype(), "ulysses: q is ", q.dtype(), ", k ", k.dtype(),
          ", v ", v.dtype());
  require(q.size(kHeads) >= comm.size(), "ulysses: ", q.size(kHeads), " heads for the ", comm.size(),
          " ranks of ", comm.name(), "; parallel.context may be at most the number of heads");
}

}  // namespace

AttentionFn ulysses(std::shared_ptr<const ContextGroup> group, AttentionFn local) {
  require(group && group->comm && local, "ulysses: wanted a group with a Comm and a local attention");
  return [group = std::move(group), local = std::move(local)](const Variable& q, const Variable& k,
                                                              const Variable& v) {
    if (group->size() == 1) return local(q, k, v);
    Comm& comm = *group->comm;
    check(q, k, v, comm);
    Flights there, back;
    for (const HeadRanges& heads : head_groups(q.size(kHeads), comm.size(), group->head_groups)) {
      there.push_back(std::make_shared<HeadExchange>(comm, heads));
      back.push_back(std::make_shared<HeadExchange>(comm, heads));
    }
    const std::vector<std::string> names = {"q", "k", "v"};
    const Variables sent = apply_op(std::make_shared<SendHeads>("ulysses_qkv", names, there), {q, k, v});
    Variables done;
    for (size_t g = 0; g < there.size(); ++g) {
      const Variables whole =
          apply_op(std::make_shared<ReceiveTokens>("ulysses_qkv", names, Flights{there[g]}), {sent[g]});
      const Variable out = local(whole[0], whole[1], whole[2]);
      require(out.shape() == whole[0].shape(), "ulysses: the local attention made ",
              at::IntArrayRef(out.shape()), " of q ", at::IntArrayRef(whole[0].shape()));
      done.push_back(apply_op(
          std::make_shared<SendTokens>("ulysses_out", std::vector<std::string>{"out"}, Flights{back[g]}),
          {out})[0]);
    }
    return apply_op(
        std::make_shared<ReceiveHeads>("ulysses_out", std::vector<std::string>{"out"}, back, q.shape()),
        done)[0];
  };
}

}  // namespace orrery
