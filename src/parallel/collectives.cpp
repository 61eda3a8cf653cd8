#include "parallel/collectives.h"

#include <cstring>
#include <numeric>

#include "base/error.h"

namespace orrery {
namespace {

using Kind = Collective::Kind;

// Below this many bytes over all ranks a reduction sends everything to everybody: one stage instead of two.
constexpr int64_t kSmallBytes = 64 << 10;

struct Pieces {
  std::vector<int64_t> offset, bytes;
};

Pieces pieces_of(const Counts& counts, int64_t itemsize) {
  Pieces pieces;
  int64_t offset = 0;
  for (const int64_t count : counts) {
    pieces.offset.push_back(offset);
    pieces.bytes.push_back(count * itemsize);
    offset += count * itemsize;
  }
  return pieces;
}

char* bytes_of(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<char*>(tensor.data_ptr()) : nullptr;
}

// Each rank begins with its right neighbour, so that no rank is everybody's first target.
template <class F>
void for_each_peer(const CommGroup& group, F f) {
  for (int i = 1; i < group.size(); ++i) {
    const int peer = (group.rank + i) % group.size();
    f(peer, group.members[peer]);
  }
}

void copy_own(char* to, const char* from, int64_t bytes) {
  if (bytes > 0 && to != from) std::memcpy(to, from, bytes);
}

std::deque<Stage> all_gather(const Collective& call, const CommGroup& group) {
  const Pieces to = pieces_of(call.out_counts, call.out.itemsize());
  char *out = bytes_of(call.out), *in = bytes_of(call.in);
  const auto post = [=](mpi::Exchange& exchange) {
    for_each_peer(group, [&](int peer, int world) {
      exchange.receive(world, out + to.offset[peer], to.bytes[peer]);
      exchange.send(world, in, to.bytes[group.rank]);
    });
    copy_own(out + to.offset[group.rank], in, to.bytes[group.rank]);
  };
  return {{post, {}}};
}

std::deque<Stage> all_to_all(const Collective& call, const CommGroup& group) {
  const Pieces to = pieces_of(call.out_counts, call.out.itemsize()),
               from = pieces_of(call.in_counts, call.in.itemsize());
  const bool copies_own = !call.leaves_own;
  char *out = bytes_of(call.out), *in = bytes_of(call.in);
  const auto post = [=](mpi::Exchange& exchange) {
    for_each_peer(group, [&](int peer, int world) {
      exchange.receive(world, out + to.offset[peer], to.bytes[peer]);
      exchange.send(world, in + from.offset[peer], from.bytes[peer]);
    });
    if (copies_own) copy_own(out + to.offset[group.rank], in + from.offset[group.rank], to.bytes[group.rank]);
  };
  return {{post, {}}};
}

std::deque<Stage> barrier(const CommGroup& group) {
  const auto post = [=](mpi::Exchange& exchange) {
    for_each_peer(group, [&](int, int world) {
      exchange.receive(world, nullptr, 0);
      exchange.send(world, nullptr, 0);
    });
  };
  return {{post, {}}};
}

// Binomial tree: rank v (counted from the root) hears from v without its lowest set bit.
std::deque<Stage> broadcast(const Collective& call, const CommGroup& group) {
  const int size = group.size(), v = (group.rank - call.root + size) % size;
  const int lowest = v == 0 ? size : v & -v;
  const auto world = [=](int relative) { return group.members[(relative + call.root) % size]; };
  char* data = bytes_of(call.out);
  const int64_t bytes = static_cast<int64_t>(call.out.nbytes());
  std::deque<Stage> stages;
  if (v != 0)
    stages.push_back(
        {[=](mpi::Exchange& exchange) { exchange.receive(world(v - lowest), data, bytes); }, {}});
  stages.push_back({[=](mpi::Exchange& exchange) {
                      int step = 1;
                      while (step < lowest && v + step < size) step *= 2;
                      for (; step >= 1; step /= 2)
                        if (step < lowest && v + step < size) exchange.send(world(v + step), data, bytes);
                    },
                    {}});
  return stages;
}

// Memory for the pieces of all ranks, made when the first stage starts.
struct Staging {
  std::unique_ptr<char[]> bytes;
  std::vector<const void*> rows;
};

// Everybody gets everything and reduces all of it.
std::deque<Stage> reduce_small(const Collective& call, const CommGroup& group) {
  const int64_t count = call.out.numel(), bytes = static_cast<int64_t>(call.out.nbytes());
  const auto dtype = call.out.scalar_type();
  const auto op = call.op;
  char* data = bytes_of(call.out);
  const auto staging = std::make_shared<Staging>();
  const auto post = [=](mpi::Exchange& exchange) {
    staging->bytes = std::make_unique_for_overwrite<char[]>(bytes * group.size());
    for (int r = 0; r < group.size(); ++r)
      staging->rows.push_back(r == group.rank ? data : staging->bytes.get() + r * bytes);
    for_each_peer(group, [&](int peer, int world) {
      exchange.receive(world, staging->bytes.get() + peer * bytes, bytes);
      exchange.send(world, data, bytes);
    });
  };
  const auto then = [=] { reduce_rows(data, staging->rows, count, dtype, op); };
  return {{post, then}};
}

// Piece p of in goes to rank p, which reduces it into out; with gather, the results go back into in (out is
// then this rank's place in it). In rounds of at most `round` elements of each piece.
std::deque<Stage> reduce_pieces(const Collective& call, const CommGroup& group, at::Tensor in_tensor,
                                char* out, const Counts& counts, int64_t round_bytes, bool gather) {
  const int64_t item = static_cast<int64_t>(in_tensor.itemsize()), size = group.size(),
                mine = counts[group.rank];
  const int64_t round = std::max<int64_t>(1, round_bytes / (item * size));
  const Pieces pieces = pieces_of(counts, item);
  const auto dtype = in_tensor.scalar_type();
  const auto op = call.op;
  char* in = bytes_of(in_tensor);
  const auto staging = std::make_shared<Staging>();
  std::deque<Stage> stages;
  for (int64_t first = 0; first == 0 || first < *std::max_element(counts.begin(), counts.end());
       first += round) {
    const auto part = [=](int64_t count) { return std::clamp<int64_t>(count - first, 0, round); };
    const int64_t bytes = part(mine) * item;
    const auto post = [=](mpi::Exchange& exchange) {
      if (!staging->bytes)
        staging->bytes = std::make_unique_for_overwrite<char[]>(std::min(round, mine) * item * size);
      staging->rows.clear();
      for (int64_t r = 0; r < size; ++r)
        staging->rows.push_back(r == group.rank ? in + pieces.offset[r] + first * item
                                                : staging->bytes.get() + r * bytes);
      for_each_peer(group, [&](int peer, int world) {
        exchange.receive(world, staging->bytes.get() + peer * bytes, bytes);
        exchange.send(world, in + pieces.offset[peer] + first * item, part(counts[peer]) * item);
      });
    };
    const auto then = [=] { reduce_rows(out + first * item, staging->rows, part(mine), dtype, op); };
    stages.push_back({post, then});
    if (!gather) continue;
    const auto post_back = [=](mpi::Exchange& exchange) {
      for_each_peer(group, [&](int peer, int world) {
        exchange.receive(world, in + pieces.offset[peer] + first * item, part(counts[peer]) * item);
        exchange.send(world, out + first * item, bytes);
      });
    };
    stages.push_back({post_back, {}});
  }
  return stages;
}

std::deque<Stage> all_reduce(const Collective& call, const CommGroup& group, int64_t round_bytes) {
  const int64_t count = call.out.numel(), size = group.size(),
                item = static_cast<int64_t>(call.out.itemsize());
  if (count * item * size <= kSmallBytes) return reduce_small(call, group);
  Counts counts(size, count / size);
  for (int64_t r = 0; r < count % size; ++r) ++counts[r];
  char* own = bytes_of(call.out) + pieces_of(counts, item).offset[group.rank];
  return reduce_pieces(call, group, call.out, own, counts, round_bytes, true);
}

template <class T>
struct Accumulator {
  using type = T;
};
template <>
struct Accumulator<c10::BFloat16> {
  using type = float;
};

template <class A>
void accumulate(A* sum, const A* x, int64_t count, ReduceOp op) {
  switch (op) {
    case ReduceOp::sum:
    case ReduceOp::mean:
      for (int64_t i = 0; i < count; ++i) sum[i] += x[i];
      break;
    case ReduceOp::max:
      for (int64_t i = 0; i < count; ++i) sum[i] = x[i] > sum[i] || x[i] != x[i] ? x[i] : sum[i];
      break;
    case ReduceOp::min:
      for (int64_t i = 0; i < count; ++i) sum[i] = x[i] < sum[i] || x[i] != x[i] ? x[i] : sum[i];
      break;
  }
}

template <class T>
void reduce_typed(T* dest, const std::vector<const void*>& rows, int64_t count, ReduceOp op) {
  using A = typename Accumulator<T>::type;
  constexpr int64_t kBlock = 2048;  // stays in the first-level cache
  A sum[kBlock], x[kBlock];
  for (int64_t first = 0; first < count; first += kBlock) {
    const int64_t n = std::min(kBlock, count - first);
    const auto load = [&](A* to, const void* row) {
      const T* from = static_cast<const T*>(row) + first;
      for (int64_t i = 0; i < n; ++i) to[i] = static_cast<A>(from[i]);
    };
    load(sum, rows[0]);
    for (size_t r = 1; r < rows.size(); ++r) {
      load(x, rows[r]);
      accumulate(sum, x, n, op);
    }
    const A size = static_cast<A>(rows.size());
    if (op == ReduceOp::mean)
      for (int64_t i = 0; i < n; ++i) sum[i] /= size;
    for (int64_t i = 0; i < n; ++i) dest[first + i] = static_cast<T>(sum[i]);
  }
}

}  // namespace

void reduce_rows(void* dest, const std::vector<const void*>& rows, int64_t count, at::ScalarType dtype,
                 ReduceOp op) {
  switch (dtype) {
    case at::kFloat:
      return reduce_typed(static_cast<float*>(dest), rows, count, op);
    case at::kDouble:
      return reduce_typed(static_cast<double*>(dest), rows, count, op);
    case at::kBFloat16:
      return reduce_typed(static_cast<c10::BFloat16*>(dest), rows, count, op);
    case at::kLong:
      return reduce_typed(static_cast<int64_t*>(dest), rows, count, op);
    case at::kByte:
      return reduce_typed(static_cast<uint8_t*>(dest), rows, count, op);
    default:
      fail("reduction of dtype ", dtype);
  }
}

std::deque<Stage> stages_of(const Collective& call, const CommGroup& group, int64_t round_bytes) {
  switch (call.kind) {
    case Kind::all_reduce:
      return all_reduce(call, group, round_bytes);
    case Kind::all_gather:
      return all_gather(call, group);
    case Kind::reduce_scatter:
      return reduce_pieces(call, group, call.in, bytes_of(call.out), call.in_counts, round_bytes, false);
    case Kind::all_to_all:
      return all_to_all(call, group);
    case Kind::broadcast:
      return broadcast(call, group);
    case Kind::barrier:
      return barrier(group);
  }
  fail("collective ", static_cast<int>(call.kind));
}

}  // namespace orrery
