#include "parallel/ulysses.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>

#include <array>

#include "autograd/scope.h"
#include "autograd/tape.h"
#include "base/error.h"
#include "parallel/head_exchange.h"

namespace orrery {
namespace {

using Flights = std::vector<std::shared_ptr<HeadExchange>>;
using Kind = HeadExchange::Kind;

const int64_t kTokens = 1, kHeads = 2;  // dimensions of (B,S,n,d)

bool is_split(at::IntArrayRef shape) {  // ops/head_split.h
  return shape.size() == 6;
}
Shape shape_of_heads(const Variable& x) {
  if (!is_split(x.shape())) return x.shape();
  return {x.size(2), x.size(3), x.size(0) * x.size(1) * x.size(4), x.size(5)};
}

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
  std::string label(Kind kind, size_t tensor = 0) const {
    constexpr std::array<std::string_view, 3> kPrefixes = {"", "t", "d"};
    return text_of(scope_, scope_.empty() ? "" : " ", "ulysses ", kPrefixes[static_cast<size_t>(kind)],
                   tensors_[tensor]);
  }
  static at::Tensor token(const at::Tensor& like) { return at::empty({0}, like.options()); }
  Flights flights_;

 private:
  std::string name_;
  std::vector<std::string> tensors_;
  std::string scope_;
};

// q, k or v (B,S,n,d), or split (groups,c,B,S,n',d) -> a token for each group of heads.
class SendHeads final : public UlyssesOp {
 public:
  using UlyssesOp::UlyssesOp;
  size_t num_results() const override { return flights_.size(); }
  Tensors forward(const Tensors& in) const override { return send(in[0], Kind::value); }
  Tensors jvp(const Saved&, const Tensors& t) const override { return send(t[0], Kind::tangent); }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    if (is_split(s.in_shape(0))) return {received_split()};
    const at::Tensor din = at::empty(s.in_shape(0), dout[0].options());
    for (auto flight = flights_.rbegin(); flight != flights_.rend(); ++flight)
      (*flight)->heads(Kind::gradient, din);
    return {din};
  }

 private:
  Tensors send(const at::Tensor& x, Kind kind) const {
    Tensors tokens;
    for (size_t g = 0; g < flights_.size(); ++g) {
      if (is_split(x.sizes()))
        flights_[g]->send_split(kind, x[static_cast<int64_t>(g)], label(kind));
      else
        flights_[g]->send_heads(kind, x, label(kind));
      tokens.push_back(token(x));
    }
    return tokens;
  }
  at::Tensor received_split() const {
    Tensors groups(flights_.size());
    for (size_t g = groups.size(); g-- > 0;) groups[g] = flights_[g]->split(Kind::gradient);
    return groups.size() == 1 ? groups[0].unsqueeze(0) : at::stack(groups);
  }
};

// Tokens of q, k, v -> q, k, v (B,cS,n',d) of one group of heads. What has no tangent, or no gradient, does
// not travel.
class ReceiveTokens final : public UlyssesOp {
 public:
  using UlyssesOp::UlyssesOp;
  size_t num_results() const override { return flights_.size(); }
  bool takes_undefined() const override { return true; }
  Tensors forward(const Tensors& in) const override { return receive(in, Kind::value); }
  Tensors jvp(const Saved&, const Tensors& t) const override { return receive(t, Kind::tangent); }
  Tensors backward(const Saved&, const Tensors& dout) const override {
    Tensors tokens(flights_.size());
    for (size_t i = flights_.size(); i-- > 0;) {  // in the order in which backward needs them
      if (!dout[i].defined()) continue;
      flights_[i]->send_tokens(Kind::gradient, dout[i], label(Kind::gradient, i));
      tokens[i] = token(dout[i]);
    }
    return tokens;
  }

 private:
  Tensors receive(const Tensors& tokens, Kind kind) const {
    Tensors out(flights_.size());
    for (size_t i = 0; i < out.size(); ++i)
      if (tokens[i].defined()) out[i] = flights_[i]->tokens(kind);
    return out;
  }
};

// out (B,cS,n',d) of one group of heads -> a token.
class SendTokens final : public UlyssesOp {
 public:
  using UlyssesOp::UlyssesOp;
  Tensors forward(const Tensors& in) const override { return send(in, Kind::value); }
  Tensors jvp(const Saved&, const Tensors& t) const override { return send(t, Kind::tangent); }
  Tensors backward(const Saved&, const Tensors&) const override {
    return {flights_[0]->tokens(Kind::gradient)};
  }

 private:
  Tensors send(const Tensors& y, Kind kind) const {
    flights_[0]->send_tokens(kind, y[0], label(kind));
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
      flights_[g]->send_heads(Kind::gradient, dout[0], label(Kind::gradient));
      tokens[g] = token(dout[0]);
    }
    return tokens;
  }

 private:
  Tensors receive(const Tensors& tokens, Kind kind) const {
    const at::Tensor out = at::empty(shape_, tokens[0].options());
    for (const auto& flight : flights_) flight->heads(kind, out);
    return {out};
  }
  Shape shape_;
};

void check(const Shape& q, const Comm& comm) {
  require(q.size() == 4 && q[kTokens] > 0 && q[kHeads] > 0, "ulysses: q is ", at::IntArrayRef(q),
          ", wanted (B,S,n,d)");
  require(q[kHeads] >= comm.size(), "ulysses: ", q[kHeads], " heads for the ", comm.size(), " ranks of ",
          comm.name(), "; parallel.context may be at most the number of heads");
}

void check_like_q(const Variable& x, std::string_view name, const Shape& shape, at::ScalarType dtype) {
  const Shape own = shape_of_heads(x);
  require(own == shape, "ulysses: q is ", at::IntArrayRef(shape), ", ", name, " ", at::IntArrayRef(own),
          "; only self-attention is spread over ranks, cross-attention is local");
  require(x.dtype() == dtype, "ulysses: q is ", dtype, ", ", name, " ", x.dtype());
}

// A call of spread attention: q, k and v on their way, then group after group of heads.
class Spread {
 public:
  explicit Spread(const ContextGroup& group) : group_(group), comm_(*group.comm) {}

  void send(const Deferred& make, const std::string& name) {
    const HeadSplit wish{.receivers = comm_.size(), .groups = group_.head_groups};
    const Variable x = make(wish);
    require(!is_split(x.shape()) || (x.size(0) == wish.groups && x.size(1) == wish.receivers),
            "ulysses: ", name, " is split as ", at::IntArrayRef(x.shape()), ", wanted ", wish.groups,
            " groups for ", wish.receivers, " ranks");
    if (name == "q") {
      shape_ = shape_of_heads(x), dtype_ = x.dtype();
      check(shape_, comm_);
      heads_ = head_groups(shape_[kHeads], comm_.size(), group_.head_groups);
    }
    check_like_q(x, name, shape_, dtype_);
    sent_.push_back(exchanges());
    tokens_.push_back(
        apply_op(std::make_shared<SendHeads>("ulysses_qkv", std::vector{name}, sent_.back()), {x}));
  }

  Variable attend(const AttentionFn& local) {
    const std::vector<std::string> in = {"q", "k", "v"}, out = {"out"};
    const Flights back = exchanges();
    Variables done;
    for (size_t g = 0; g < heads_.size(); ++g) {
      const Flights there = {sent_[0][g], sent_[1][g], sent_[2][g]};
      const Variables whole = apply_op(std::make_shared<ReceiveTokens>("ulysses_qkv", in, there),
                                       {tokens_[0][g], tokens_[1][g], tokens_[2][g]});
      const Variable mixed = local(whole[0], whole[1], whole[2]);
      require(mixed.shape() == whole[0].shape(), "ulysses: the local attention made ",
              at::IntArrayRef(mixed.shape()), " of q ", at::IntArrayRef(whole[0].shape()));
      done.push_back(
          apply_op(std::make_shared<SendTokens>("ulysses_out", out, Flights{back[g]}), {mixed})[0]);
    }
    return apply_op(std::make_shared<ReceiveHeads>("ulysses_out", out, back, shape_), done)[0];
  }

 private:
  Flights exchanges() const {  // one for each group of heads
    Flights out;
    for (const HeadRanges& heads : heads_) out.push_back(std::make_shared<HeadExchange>(comm_, heads));
    return out;
  }

  const ContextGroup& group_;
  Comm& comm_;
  Shape shape_;
  at::ScalarType dtype_ = at::kFloat;
  std::vector<HeadRanges> heads_;
  std::vector<Flights> sent_;      // of q, k, v
  std::vector<Variables> tokens_;  // the same
};

}  // namespace

DeferredAttentionFn ulysses(std::shared_ptr<const ContextGroup> group, AttentionFn local) {
  require(group && group->comm && local, "ulysses: wanted a group with a Comm and a local attention");
  return [group = std::move(group), local = std::move(local)](const Deferred& q, const Deferred& k,
                                                              const Deferred& v) {
    if (group->size() == 1) return deferred(local)(q, k, v);
    Spread spread(*group);
    spread.send(q, "q");
    spread.send(k, "k");
    spread.send(v, "v");
    return spread.attend(local);
  };
}

}  // namespace orrery
