#include "parallel/cuda/nccl_calls.h"

#include <ATen/ops/empty.h>

#include <cstring>
#include <numeric>

#include "parallel/cuda/check.h"

namespace orrery {
namespace {

ncclDataType_t type_of(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return ncclFloat32;
    case at::kDouble:
      return ncclFloat64;
    case at::kBFloat16:
      return ncclBfloat16;
    case at::kLong:
      return ncclInt64;
    case at::kByte:
      return ncclUint8;
    default:
      fail("NCCL: dtype ", tensor.scalar_type());
  }
}

ncclRedOp_t op_of(ReduceOp op) {
  switch (op) {
    case ReduceOp::sum:
      return ncclSum;
    case ReduceOp::mean:
      return ncclAvg;
    case ReduceOp::max:
      return ncclMax;
    case ReduceOp::min:
      return ncclMin;
  }
  fail("NCCL: reduction ", static_cast<int>(op));
}

bool all_equal(const Counts& counts) {
  return std::all_of(counts.begin(), counts.end(), [&](int64_t count) { return count == counts[0]; });
}

// Where each rank's piece begins, in bytes.
std::vector<int64_t> offsets_of(const Counts& counts, const at::Tensor& tensor) {
  std::vector<int64_t> offsets(counts.size());
  std::exclusive_scan(counts.begin(), counts.end(), offsets.begin(), int64_t{0});
  for (int64_t& offset : offsets) offset *= static_cast<int64_t>(tensor.itemsize());
  return offsets;
}

// NCCL makes one launch of what is called between start and end.
template <class CallPiece>
void for_each_piece(size_t pieces, const CallPiece& call_piece) {
  check(ncclGroupStart());
  for (size_t r = 0; r < pieces; ++r) call_piece(static_cast<int>(r));
  check(ncclGroupEnd());
}

// One broadcast a piece.
void all_gather_uneven(const Collective& call, ncclComm_t comm, int rank, cudaStream_t stream) {
  const auto offsets = offsets_of(call.out_counts, call.out);
  char* to = static_cast<char*>(call.out.data_ptr());
  for_each_piece(offsets.size(), [&](int r) {
    const void* from = r == rank ? call.in.const_data_ptr() : to + offsets[r];
    if (call.out_counts[r] > 0)
      check(ncclBroadcast(from, to + offsets[r], call.out_counts[r], type_of(call.out), r, comm, stream));
  });
}

// One reduction a piece.
void reduce_scatter_uneven(const Collective& call, ncclComm_t comm, cudaStream_t stream) {
  const auto offsets = offsets_of(call.in_counts, call.in);
  const char* from = static_cast<const char*>(call.in.const_data_ptr());
  for_each_piece(offsets.size(), [&](int r) {
    if (call.in_counts[r] > 0)
      check(ncclReduce(from + offsets[r], call.out.data_ptr(), call.in_counts[r], type_of(call.in),
                       op_of(call.op), r, comm, stream));
  });
}

void all_to_all(const Collective& call, ncclComm_t comm, int rank, cudaStream_t stream) {
  const auto to_offsets = offsets_of(call.out_counts, call.out),
             from_offsets = offsets_of(call.in_counts, call.in);
  char* to = static_cast<char*>(call.out.data_ptr());
  const char* from = static_cast<const char*>(call.in.const_data_ptr());
  const ncclDataType_t type = type_of(call.out);
  for_each_piece(to_offsets.size(), [&](int r) {
    if (r == rank && call.leaves_own) return;
    if (call.in_counts[r] > 0)
      check(ncclSend(from + from_offsets[r], call.in_counts[r], type, r, comm, stream));
    if (call.out_counts[r] > 0)
      check(ncclRecv(to + to_offsets[r], call.out_counts[r], type, r, comm, stream));
  });
}

}  // namespace

ncclComm_t open_communicator(Comm& host) {
  ncclUniqueId id{};
  if (host.rank() == 0) check(ncclGetUniqueId(&id));
  const at::Tensor bytes = at::empty({static_cast<int64_t>(sizeof id)}, at::kByte);
  std::memcpy(bytes.mutable_data_ptr(), &id, sizeof id);
  host.broadcast(bytes, 0, "id of NCCL").wait();
  std::memcpy(&id, bytes.const_data_ptr(), sizeof id);
  ncclComm_t comm = nullptr;
  check(ncclCommInitRank(&comm, host.size(), id, host.rank()));
  return comm;
}

void close_communicator(ncclComm_t comm, cudaStream_t stream) {
  check(cudaStreamSynchronize(stream));
  check(ncclCommDestroy(comm));
}

void issue(const Collective& call, ncclComm_t comm, int rank, cudaStream_t stream) {
  using Kind = Collective::Kind;
  const ncclDataType_t type = type_of(call.out);
  void* to = call.out.data_ptr();
  const void* from = call.in.defined() ? call.in.const_data_ptr() : to;
  switch (call.kind) {
    case Kind::barrier:
    case Kind::all_reduce:
      return check(ncclAllReduce(from, to, call.out.numel(), type, op_of(call.op), comm, stream));
    case Kind::broadcast:
      return check(ncclBroadcast(from, to, call.out.numel(), type, call.root, comm, stream));
    case Kind::all_gather:
      if (!all_equal(call.out_counts)) return all_gather_uneven(call, comm, rank, stream);
      return check(ncclAllGather(from, to, call.in.numel(), type, comm, stream));
    case Kind::reduce_scatter:
      if (!all_equal(call.in_counts)) return reduce_scatter_uneven(call, comm, stream);
      return check(ncclReduceScatter(from, to, call.out.numel(), type, op_of(call.op), comm, stream));
    case Kind::all_to_all:
      return all_to_all(call, comm, rank, stream);
  }
}

}  // namespace orrery
