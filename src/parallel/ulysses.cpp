#include "parallel/ulysses.h"

#include <ATen/ops/empty.h>

#include <numeric>

#include "autograd/scope.h"
#include "autograd/tape.h"
#include "base/error.h"
#include "base/memory.h"
#include "parallel/context_split.h"

namespace orrery {
namespace {

// Lengths of the ranks' pieces along a dimension.
struct Partition {
  int64_t dim;
  Counts lengths;
  int64_t total() const { return std::accumulate(lengths.begin(), lengths.end(), int64_t{0}); }
  at::Tensor piece(const at::Tensor& whole, int rank) const {
    return whole.narrow(dim, std::accumulate(lengths.begin(), lengths.begin() + rank, int64_t{0}),
                        lengths[rank]);
  }
};

const int64_t kTokens = 1, kHeads = 2;  // dimensions of (B,S,n,d)

// Elements of each rank's piece of a tensor of this shape.
Counts element_counts(const Shape& shape, const Partition& partition) {
  const int64_t slice = c10::multiply_integers(shape) / partition.total();
  Counts counts = partition.lengths;
  for (int64_t& count : counts) count *= slice;
  return counts;
}

at::Tensor staged(const at::Tensor& x, const Partition& split, int left_out) {
  const MemoryTag tag(MemoryUse::communication);
  return pack_pieces(x, split.dim, split.lengths, left_out);
}

// An all-to-all of several tensors, each whole along `split` and local along `join`: it comes back local
// along split and whole along join. While one travels, the next is packed or the one before unpacked. What a
// rank keeps is copied straight to its place, where pieces land in place while the others travel.
Tensors exchange(Comm& comm, const Tensors& in, const Partition& split, const Partition& join,
                 const std::vector<std::string>& labels) {
  struct Journey {
    at::Tensor sent, received, out;
    Work work;
  };
  const int rank = comm.rank();
  std::vector<Journey> journeys;
  Shape shape;  // of a result
  for (size_t i = 0; i < in.size(); ++i) {
    const Shape whole = in[i].sizes().vec();
    shape = whole;
    shape[split.dim] = split.lengths[rank];
    shape[join.dim] = join.total();
    const at::Tensor sent = staged(in[i], split, rank);
    const at::Tensor received = at::empty({c10::multiply_integers(shape)}, in[i].options());
    Work work = comm.exchange_with_others(received, sent, element_counts(shape, join),
                                          element_counts(whole, split), labels[i]);
    journeys.push_back({sent, received, {}, std::move(work)});
  }
  const auto land = [&](size_t i) {
    journeys[i].out = unpack_pieces(journeys[i].received, shape, join.dim, join.lengths, rank);
    copy_runs(join.piece(journeys[i].out, rank), split.piece(in[i], rank));
  };
  const bool in_place = are_dense(shape, join.dim);
  for (size_t i = 0; in_place && i < in.size(); ++i) land(i);
  Tensors out;
  for (size_t i = 0; i < in.size(); ++i) {
    journeys[i].work.wait();
    journeys[i].sent.reset();
    if (!in_place) land(i);
    out.push_back(std::move(journeys[i].out));
    journeys[i].received.reset();
  }
  return out;
}

// A permutation of elements over the group, so gradients take the way back and tangents the same way.
class UlyssesExchange final : public Op {
 public:
  struct Spec {
    std::string name;                  // of the op
    std::vector<std::string> tensors;  // "q", "k", "v": one an input
    Partition split, join;
  };
  UlyssesExchange(Comm& comm, Spec spec)
      : comm_(comm), spec_(std::move(spec)), scope_(Scope::innermost() ? Scope::innermost()->path() : "") {}

  std::string_view name() const override { return spec_.name; }
  size_t num_results() const override { return spec_.tensors.size(); }
  bool saves_input(size_t) const override { return false; }
  Tensors forward(const Tensors& in) const override {
    return exchange(comm_, in, spec_.split, spec_.join, labels(""));
  }
  Tensors backward(const Saved&, const Tensors& dout) const override {
    return exchange(comm_, dout, spec_.join, spec_.split, labels("d"));
  }
  Tensors jvp(const Saved&, const Tensors& t) const override {
    return exchange(comm_, t, spec_.split, spec_.join, labels("t"));
  }

 private:
  // "blocks.7.self_attn ulysses dq": what a time-out shows.
  std::vector<std::string> labels(std::string_view prefix) const {
    std::vector<std::string> out;
    for (const std::string& tensor : spec_.tensors)
      out.push_back(text_of(scope_, scope_.empty() ? "" : " ", "ulysses ", prefix, tensor));
    return out;
  }

  Comm& comm_;
  Spec spec_;
  std::string scope_;
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

Counts head_split(int64_t heads, int64_t ranks) {
  require(ranks > 0 && heads >= ranks, "ulysses: ", heads, " heads for ", ranks,
          " ranks; each needs one at least");
  Counts counts(ranks, heads / ranks);
  for (int64_t r = 0; r < heads % ranks; ++r) ++counts[r];
  return counts;
}

AttentionFn ulysses(std::shared_ptr<const ContextGroup> group, AttentionFn local) {
  require(group && group->comm && local, "ulysses: wanted a group with a Comm and a local attention");
  return [group = std::move(group), local = std::move(local)](const Variable& q, const Variable& k,
                                                              const Variable& v) {
    if (group->size() == 1) return local(q, k, v);
    Comm& comm = *group->comm;
    check(q, k, v, comm);
    const Partition heads{kHeads, head_split(q.size(kHeads), comm.size())};
    const Partition tokens{kTokens, Counts(comm.size(), q.size(kTokens))};
    const auto run = [&](UlyssesExchange::Spec spec, const Variables& in) {
      return apply_op(std::make_shared<UlyssesExchange>(comm, std::move(spec)), in);
    };
    const Variables whole = run({"ulysses_qkv", {"q", "k", "v"}, heads, tokens}, {q, k, v});
    const Variable out = local(whole[0], whole[1], whole[2]);
    require(out.shape() == whole[0].shape(), "ulysses: the local attention made ",
            at::IntArrayRef(out.shape()), " of q ", at::IntArrayRef(whole[0].shape()));
    return run({"ulysses_out", {"out"}, tokens, heads}, {out})[0];
  };
}

}  // namespace orrery
