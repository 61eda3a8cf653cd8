// The NCCL backend against the MPI backend on the same random data, and its order among other work of the
// GPU.
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "parallel/mesh.h"
#include "parallel/nccl_fixture.h"

namespace orrery {
namespace {

constexpr at::ScalarType kDtypes[] = {at::kFloat, at::kDouble, at::kBFloat16, at::kLong, at::kByte};

at::Tensor values(int rank, int64_t count, at::ScalarType dtype) {
  const at::Tensor x = Rng(11, "comm", {static_cast<uint64_t>(rank)}).normal_tensor({count});
  return at::isFloatingType(dtype) ? x.to(dtype) : x.mul(20).add(100).to(dtype);
}

bool allowed(ReduceOp op, at::ScalarType dtype) {
  if (dtype == at::kByte) return op == ReduceOp::max || op == ReduceOp::min;
  return op != ReduceOp::mean || at::isFloatingType(dtype);
}

// Equal bits where no order of additions can differ; else within the rounding of `size` terms of about 1.
bool same(const at::Tensor& got, const at::Tensor& want, ReduceOp op, int size) {
  const at::Tensor on_host = got.cpu();
  const bool exact = size == 2 || op == ReduceOp::max || op == ReduceOp::min;
  if (exact || !at::isFloatingType(want.scalar_type())) return at::equal(on_host, want);
  const double bound = size * (want.scalar_type() == at::kBFloat16 ? 1e-2 : 1e-6);
  return at::allclose(on_host.to(at::kDouble), want.to(at::kDouble), bound, bound);
}

// Equal, uneven, and with a rank that has nothing.
std::vector<Counts> some_counts(int size) {
  Counts uneven, with_zero;
  for (int r = 0; r < size; ++r) {
    uneven.push_back(1001 * (r + 1));
    with_zero.push_back(r == 1 ? 0 : 1000 * (r + 1) + r);
  }
  return {Counts(size, 1000), uneven, with_zero};
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

// Keeps the current stream busy for tens of milliseconds.
void compute_for_a_while(at::Device device) {
  const at::Tensor a = at::full({8192, 8192}, 0.01, at::TensorOptions(device).dtype(at::kBFloat16));
  for (int i = 0; i < 20; ++i) at::matmul(a, a);
}

}  // namespace

class CommNccl : public NcclTest {};

TEST_F(CommNccl, all_reduce_gives_what_mpi_gives_for_every_dtype_op_and_size) {
  for (const auto dtype : kDtypes)
    for (const auto op : {ReduceOp::sum, ReduceOp::mean, ReduceOp::max, ReduceOp::min})
      for (const int64_t count : {0, 1, 3, 1000, 30011}) {
        if (!allowed(op, dtype)) continue;
        at::Tensor want = values(rank(), count, dtype), got = want.to(device());
        mpi().all_reduce(want, op, "x").wait();
        nccl().all_reduce(got, op, "x").wait();
        EXPECT_TRUE(same(got, want, op, size()))
            << dtype << " op " << static_cast<int>(op) << " count " << count;
      }
}

TEST_F(CommNccl, all_gather_even_uneven_and_in_place) {
  for (const auto dtype : kDtypes)
    for (const Counts& counts : some_counts(size())) {
      const at::Tensor in = values(rank(), counts[rank()], dtype);
      at::Tensor want = at::zeros({total(counts)}, dtype), got = want.to(device()),
                 in_place = want.to(device());
      mpi().all_gather(want, in, counts, "host").wait();
      nccl().all_gather(got, in.to(device()), counts, "apart").wait();
      EXPECT_TRUE(at::equal(got.cpu(), want)) << dtype << " " << counts[1];
      piece(in_place, counts, rank()).copy_(in);
      nccl().all_gather(in_place, piece(in_place, counts, rank()), counts, "in place").wait();
      EXPECT_TRUE(at::equal(in_place.cpu(), want)) << dtype << " in place " << counts[1];
    }
}

TEST_F(CommNccl, reduce_scatter_even_uneven_and_in_place) {
  for (const auto dtype : kDtypes)
    for (const auto op : {ReduceOp::sum, ReduceOp::mean, ReduceOp::max})
      for (const Counts& counts : some_counts(size())) {
        if (!allowed(op, dtype)) continue;
        const at::Tensor in = values(rank(), total(counts), dtype);
        at::Tensor want = at::zeros({counts[rank()]}, dtype), got = want.to(device()),
                   in_place = in.to(device());
        mpi().reduce_scatter(want, in, counts, op, "host").wait();
        nccl().reduce_scatter(got, in.to(device()), counts, op, "apart").wait();
        EXPECT_TRUE(same(got, want, op, size())) << dtype << " op " << static_cast<int>(op);
        nccl().reduce_scatter(piece(in_place, counts, rank()), in_place, counts, op, "in place").wait();
        EXPECT_TRUE(same(piece(in_place, counts, rank()), want, op, size())) << dtype << " in place";
      }
}

TEST_F(CommNccl, all_to_all_even_and_uneven) {
  Counts from, to;  // rank a sends 7 ((a + 2 b) % 5) elements to rank b
  for (int r = 0; r < size(); ++r) {
    from.push_back(7 * ((rank() + 2 * r) % 5));
    to.push_back(7 * ((r + 2 * rank()) % 5));
  }
  for (const auto dtype : kDtypes) {
    const at::Tensor in = values(rank(), total(from), dtype);
    at::Tensor want = at::zeros({total(to)}, dtype), got = want.to(device());
    mpi().all_to_all(want, in, to, from, "host").wait();
    nccl().all_to_all(got, in.to(device()), to, from, "uneven").wait();
    EXPECT_TRUE(at::equal(got.cpu(), want)) << dtype;

    want.fill_(3);
    got.fill_(3);
    mpi().exchange_with_others(want, in, to, from, "host").wait();
    nccl().exchange_with_others(got, in.to(device()), to, from, "others").wait();
    EXPECT_TRUE(at::equal(got.cpu(), want)) << dtype;

    const at::Tensor even = values(rank(), 301 * size(), dtype);
    at::Tensor want_even = at::zeros_like(even), got_even = want_even.to(device());
    mpi().all_to_all(want_even, even, "host").wait();
    nccl().all_to_all(got_even, even.to(device()), "even").wait();
    EXPECT_TRUE(at::equal(got_even.cpu(), want_even)) << dtype;
  }
}

TEST_F(CommNccl, broadcast_from_every_root_and_barrier) {
  for (int root = 0; root < size(); ++root)
    for (const auto dtype : kDtypes) {
      at::Tensor x = values(rank(), 1001, dtype).to(device());
      nccl().broadcast(x, root, "x").wait();
      EXPECT_TRUE(at::equal(x.cpu(), values(root, 1001, dtype))) << dtype << " from " << root;
    }
  Work barrier = nccl().barrier("all are here");
  barrier.wait();
  c10::cuda::device_synchronize();
  EXPECT_TRUE(barrier.ready());
}

TEST_F(CommNccl, split_orders_groups_by_key_and_makes_single_ranks) {
  const auto reversed = nccl().split(0, -rank(), "reversed");
  at::Tensor ranks = at::zeros({size()}, on_device(at::kLong));
  reversed->all_gather(ranks, at::full({1}, rank(), on_device(at::kLong)), "ranks").wait();
  for (int i = 0; i < size(); ++i) EXPECT_EQ(ranks[i].item<int64_t>(), size() - 1 - i);
  const auto alone = nccl().split(rank(), 0, "alone");
  EXPECT_EQ(alone->size(), 1);
  at::Tensor x = at::full({3}, 2.0, on_device(at::kFloat));
  alone->all_reduce(x, ReduceOp::sum, "x").wait();
  EXPECT_EQ(x[0].item<float>(), 2);
}

TEST_F(CommNccl, groups_of_a_mesh_are_those_of_mpi) {
  const std::vector<int> one_node(size(), 0);
  for (const MeshShape& shape : {MeshShape{1, 0, 2}, MeshShape{0, 2, 1}, MeshShape{2, 1, 0}}) {
    const Mesh host(mpi(), one_node, shape), mesh(nccl(), one_node, shape);
    for (const auto& axes : {std::vector{Axis::replicate}, {Axis::shard}, {Axis::context}}) {
      Comm &want_comm = host.along({axes[0]}), &comm = mesh.along({axes[0]});
      ASSERT_EQ(comm.size(), want_comm.size());
      at::Tensor want = values(rank(), 100, at::kFloat), got = want.to(device());
      want_comm.all_reduce(want, ReduceOp::mean, "x").wait();
      comm.all_reduce(got, ReduceOp::mean, "x").wait();
      EXPECT_TRUE(same(got, want, ReduceOp::mean, comm.size()));
    }
  }
}

TEST_F(CommNccl, runs_after_earlier_and_before_later_work_of_the_current_stream_without_the_host) {
  const auto side = c10::cuda::getStreamFromPool(false, device().index());
  for (const auto& stream : {c10::cuda::getDefaultCUDAStream(device().index()), side}) {
    const c10::cuda::CUDAStreamGuard guard(stream);
    at::Tensor x = at::zeros({1 << 20}, on_device(at::kFloat));
    compute_for_a_while(device());
    x.add_(rank() + 1);
    Work work = nccl().all_reduce(x, ReduceOp::sum, "x");
    EXPECT_FALSE(work.ready());  // the host went ahead of the products
    work.wait();
    const at::Tensor y = x * 2;
    const double sum = size() * (size() + 1) / 2.0;
    EXPECT_EQ(y.min().item<float>(), 2 * sum);
    EXPECT_EQ(y.max().item<float>(), 2 * sum);
  }
}

TEST_F(CommNccl, holds_its_tensors_until_it_is_waited_for) {
  constexpr int64_t kCount = 32 << 20;
  at::Tensor large = at::zeros({kCount}, on_device(at::kFloat));
  at::Tensor out = at::zeros({size(), 1 << 20}, on_device(at::kFloat));
  Work first = nccl().all_reduce(large, ReduceOp::sum, "keeps the stream busy");
  Work second = nccl().all_gather(out, at::full({1 << 20}, 7.0, on_device(at::kFloat)), "a temporary");
  // Had the temporary been freed, its memory would be taken and overwritten here.
  const at::Tensor junk = at::full({1 << 20}, 9.0, on_device(at::kFloat));
  second.wait();
  EXPECT_EQ(out.min().item<float>(), 7);
  EXPECT_EQ(out.max().item<float>(), 7);
}

TEST_F(CommNccl, works_of_two_communicators_may_be_waited_in_any_order_and_dropped) {
  const auto other = nccl().split(0, rank(), "other");
  std::vector<at::Tensor> x;
  std::vector<Work> works;
  for (int i = 0; i < 20; ++i) {
    x.push_back(at::full({20000 * i + 1}, i, on_device(at::kFloat)));
    works.push_back((i % 2 ? *other : nccl()).all_reduce(x.back(), ReduceOp::sum, "many"));
  }
  while (works.size() > 3) {
    works.back().wait();
    works.pop_back();
  }
  works.clear();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(x[i].min().item<float>(), i * size());
}

TEST_F(CommNccl, refuses_tensors_of_the_host_and_of_other_gpus) {
  const auto discard = [](Work work) { work.wait(); };
  EXPECT_THROW(discard(nccl().all_reduce(at::zeros({4}, at::kFloat), ReduceOp::sum, "host")), Error);
  const at::Device other(at::kCUDA, static_cast<c10::DeviceIndex>((device().index() + 1) % at::getNumGPUs()));
  const at::Tensor there = at::zeros({4}, at::TensorOptions(other).dtype(at::kFloat));
  EXPECT_THROW(discard(nccl().all_reduce(there, ReduceOp::sum, "other GPU")), Error);
}

}  // namespace orrery
