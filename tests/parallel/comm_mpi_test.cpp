#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "world.h"

namespace orrery {
namespace {

constexpr at::ScalarType kDtypes[] = {at::kFloat, at::kDouble, at::kBFloat16, at::kLong, at::kByte};

// What rank r contributes; every rank can compute that of the others.
at::Tensor values(int r, int64_t count, at::ScalarType dtype) {
  const at::Tensor x = Rng(11, "comm", {static_cast<uint64_t>(r)}).normal_tensor({count});
  return at::isFloatingType(dtype) ? x.to(dtype) : x.mul(40).add(100).to(dtype);
}

std::vector<at::Tensor> all_values(int size, int64_t count, at::ScalarType dtype) {
  std::vector<at::Tensor> all;
  for (int r = 0; r < size; ++r) all.push_back(values(r, count, dtype));
  return all;
}

// The definition in comm.h: rank order, float32 for bfloat16, one rounding.
at::Tensor reduced(const std::vector<at::Tensor>& rows, ReduceOp op) {
  const auto dtype = rows[0].scalar_type(), wide = dtype == at::kBFloat16 ? at::kFloat : dtype;
  at::Tensor sum = rows[0].to(wide);
  for (size_t r = 1; r < rows.size(); ++r) {
    const at::Tensor x = rows[r].to(wide);
    sum = op == ReduceOp::max ? sum.maximum(x) : op == ReduceOp::min ? sum.minimum(x) : sum + x;
  }
  if (op == ReduceOp::mean) sum = sum / static_cast<double>(rows.size());
  return sum.to(dtype);
}

Counts uneven_counts(int size, int64_t unit) {
  Counts counts;
  for (int r = 0; r < size; ++r) counts.push_back(r == 1 ? 0 : (r + 1) * unit + r);
  return counts;
}

int64_t total(const Counts& counts) {
  int64_t sum = 0;
  for (const int64_t count : counts) sum += count;
  return sum;
}

at::Tensor piece(const at::Tensor& whole, const Counts& counts, int r) {
  int64_t start = 0;
  for (int i = 0; i < r; ++i) start += counts[i];
  return whole.slice(0, start, start + counts[r]);
}

bool allowed(ReduceOp op, at::ScalarType dtype) {
  if (dtype == at::kByte) return op == ReduceOp::max || op == ReduceOp::min;
  return op != ReduceOp::mean || at::isFloatingType(dtype);
}

}  // namespace

TEST(CommMpi, all_reduce_is_the_sum_in_rank_order_for_every_dtype_op_and_size) {
  Comm& comm = test_world().comm();
  for (const auto dtype : kDtypes)
    for (const auto op : {ReduceOp::sum, ReduceOp::mean, ReduceOp::max, ReduceOp::min})
      for (const int64_t count : {0, 1, 3, 1000, 30011}) {
        if (!allowed(op, dtype)) continue;
        at::Tensor x = values(comm.rank(), count, dtype);
        comm.all_reduce(x, op, "x").wait();
        EXPECT_TRUE(at::equal(x, reduced(all_values(comm.size(), count, dtype), op)))
            << dtype << " op " << static_cast<int>(op) << " count " << count;
      }
}

TEST(CommMpi, all_reduce_bits_do_not_depend_on_the_bucket) {
  Comm& comm = test_world().comm();
  at::Tensor whole = values(comm.rank(), 60001, at::kFloat), parts = whole.clone();
  comm.all_reduce(whole, ReduceOp::mean, "whole").wait();
  for (int64_t first = 0; first < 60001; first += 4001)
    comm.all_reduce(parts.slice(0, first, std::min<int64_t>(first + 4001, 60001)), ReduceOp::mean, "part")
        .wait();
  EXPECT_TRUE(at::equal(whole, parts));
}

TEST(CommMpi, nan_wins_in_max_and_min) {
  Comm& comm = test_world().comm();
  for (const auto op : {ReduceOp::max, ReduceOp::min}) {
    at::Tensor x = at::full({2}, comm.rank(), at::kFloat);
    if (comm.rank() == comm.size() - 1) x[1].fill_(std::nan(""));
    comm.all_reduce(x, op, "nan").wait();
    EXPECT_FALSE(std::isnan(x[0].item<double>()));
    EXPECT_TRUE(std::isnan(x[1].item<double>()));
  }
}

TEST(CommMpi, all_gather_even_uneven_and_in_place) {
  Comm& comm = test_world().comm();
  for (const auto dtype : kDtypes) {
    at::Tensor out = at::zeros({comm.size(), 5}, dtype);
    comm.all_gather(out, values(comm.rank(), 5, dtype), "even").wait();
    EXPECT_TRUE(at::equal(out, at::stack(all_values(comm.size(), 5, dtype))));

    const Counts counts = uneven_counts(comm.size(), 1000);
    std::vector<at::Tensor> inputs;
    for (int r = 0; r < comm.size(); ++r) inputs.push_back(values(r, counts[r], dtype));
    at::Tensor gathered = at::zeros({total(counts)}, dtype), in_place = gathered.clone();
    comm.all_gather(gathered, inputs[comm.rank()], counts, "uneven").wait();
    EXPECT_TRUE(at::equal(gathered, at::cat(inputs)));
    piece(in_place, counts, comm.rank()).copy_(inputs[comm.rank()]);
    comm.all_gather(in_place, piece(in_place, counts, comm.rank()), counts, "in place").wait();
    EXPECT_TRUE(at::equal(in_place, gathered));
  }
}

TEST(CommMpi, reduce_scatter_gives_the_pieces_of_all_reduce) {
  Comm& comm = test_world().comm();
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const Counts counts = uneven_counts(comm.size(), 20000), equal(comm.size(), 7);
    for (const Counts& c : {counts, equal}) {
      const at::Tensor in = values(comm.rank(), total(c), dtype);
      at::Tensor whole = in.clone(), out = at::zeros({c[comm.rank()]}, dtype), in_place = in.clone();
      comm.all_reduce(whole, ReduceOp::mean, "whole").wait();
      comm.reduce_scatter(out, in, c, ReduceOp::mean, "pieces").wait();
      EXPECT_TRUE(at::equal(out, piece(whole, c, comm.rank()))) << dtype;
      comm.reduce_scatter(piece(in_place, c, comm.rank()), in_place, c, ReduceOp::mean, "in place").wait();
      EXPECT_TRUE(at::equal(out, piece(in_place, c, comm.rank()))) << dtype;
    }
  }
}

TEST(CommMpi, all_to_all_moves_piece_r_to_rank_r) {
  Comm& comm = test_world().comm();
  const int size = comm.size(), me = comm.rank();
  // Rank a sends (a + 2 b) % 5 elements to rank b, each a * 100 + b.
  Counts from, to;
  std::vector<at::Tensor> sent, wanted;
  for (int r = 0; r < size; ++r) {
    from.push_back((me + 2 * r) % 5);
    to.push_back((r + 2 * me) % 5);
    sent.push_back(at::full({from[r]}, me * 100 + r, at::kLong));
    wanted.push_back(at::full({to[r]}, r * 100 + me, at::kLong));
  }
  at::Tensor out = at::zeros({total(to)}, at::kLong);
  comm.all_to_all(out, at::cat(sent), to, from, "uneven").wait();
  EXPECT_TRUE(at::equal(out, at::cat(wanted)));

  at::Tensor others = at::full({total(to)}, -7, at::kLong);
  comm.exchange_with_others(others, at::cat(sent), to, from, "without its own").wait();
  wanted[me].fill_(-7);
  EXPECT_TRUE(at::equal(others, at::cat(wanted)));

  at::Tensor even = at::zeros({size, 3}, at::kFloat);
  comm.all_to_all(even, at::arange(3 * size, at::kFloat) + 1000 * me, "even").wait();
  for (int r = 0; r < size; ++r) EXPECT_EQ(even[r][0].item<double>(), 1000 * r + 3 * me);
}

TEST(CommMpi, broadcast_from_every_root) {
  Comm& comm = test_world().comm();
  for (int root = 0; root < comm.size(); ++root) {
    at::Tensor x = values(comm.rank(), 1001, at::kBFloat16);
    comm.broadcast(x, root, "x").wait();
    EXPECT_TRUE(at::equal(x, values(root, 1001, at::kBFloat16)));
  }
}

TEST(CommMpi, works_may_be_waited_in_any_order_and_dropped) {
  Comm& comm = test_world().comm();
  std::vector<at::Tensor> x;
  std::vector<Work> works;
  for (int i = 0; i < 10; ++i) {
    x.push_back(at::full({20000 * i + 1}, i, at::kFloat));
    works.push_back(comm.all_reduce(x.back(), ReduceOp::sum, "many"));
  }
  while (works.size() > 3) {
    works.back().wait();
    works.pop_back();
  }
  works.clear();
  for (int i = 0; i < 10; ++i) EXPECT_EQ(x[i].min().item<double>(), i * comm.size());
}

TEST(CommMpi, split_groups_are_independent_and_ordered_by_key) {
  Comm& world = test_world().comm();
  if (world.size() < 2) GTEST_SKIP() << "needs ranks";
  const auto halves = world.split(world.rank() % 2, -world.rank(), "halves");
  const auto alone = world.split(world.rank(), 0, "alone");
  EXPECT_EQ(halves->size(), world.size() / 2);
  EXPECT_EQ(alone->size(), 1);
  // The two halves run different numbers of collectives.
  at::Tensor last = at::zeros({halves->size()}, at::kLong);
  for (int i = 0; i < 1 + world.rank() % 2; ++i)
    halves->all_gather(last, at::full({1}, world.rank(), at::kLong), "ranks").wait();
  for (int i = 0; i < halves->size(); ++i)
    EXPECT_EQ(last[i].item<int64_t>(), world.size() - 2 + world.rank() % 2 - 2 * i);
  at::Tensor both = at::full({3}, 2.0, at::kFloat);
  auto first = world.all_reduce(both, ReduceOp::sum, "world");
  at::Tensor half = at::full({3}, 1.0, at::kFloat);
  halves->all_reduce(half, ReduceOp::sum, "half").wait();
  first.wait();
  EXPECT_EQ(half[0].item<double>(), halves->size());
  EXPECT_EQ(both[0].item<double>(), 2 * world.size());
}

TEST(CommMpi, wrong_arguments_are_refused_before_anything_is_sent) {
  Comm& comm = test_world().comm();
  const auto f = at::zeros({comm.size() * 4}, at::kFloat);
  const auto discard = [](Work work) { work.wait(); };
  EXPECT_THROW(discard(comm.all_reduce({}, ReduceOp::sum, "undefined")), Error);
  EXPECT_THROW(discard(comm.all_reduce(at::zeros({2, 4}, at::kFloat).t(), ReduceOp::sum, "strided")), Error);
  EXPECT_THROW(discard(comm.all_reduce(f.to(at::kHalf), ReduceOp::sum, "half")), Error);
  EXPECT_THROW(discard(comm.all_reduce(f.to(at::kLong), ReduceOp::mean, "mean of int64")), Error);
  EXPECT_THROW(discard(comm.all_reduce(f.to(at::kByte), ReduceOp::sum, "sum of uint8")), Error);
  EXPECT_THROW(discard(comm.all_gather(f, at::zeros({3}, at::kFloat), "short input")), Error);
  EXPECT_THROW(discard(comm.all_gather(f, at::zeros({4}, at::kDouble), "dtype")), Error);
  EXPECT_THROW(discard(comm.all_gather(f, f.slice(0, 1, 5), "overlap at the wrong place")), Error);
  EXPECT_THROW(discard(comm.all_to_all(f, f, "overlap")), Error);
  EXPECT_THROW(discard(comm.broadcast(f, comm.size(), "root")), Error);
  EXPECT_THROW(discard(comm.reduce_scatter(f, f, Counts(comm.size() + 1, 4), ReduceOp::sum, "counts")),
               Error);
}

}  // namespace orrery
