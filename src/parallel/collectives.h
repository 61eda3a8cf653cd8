#pragma once
// The algorithms of the MPI backend: a collective as a list of stages, each an exchange of messages followed
// by local arithmetic. Direct exchange between all pairs, no rings: the order of sums is then the order of
// ranks everywhere.
#include <deque>
#include <functional>

#include "parallel/comm.h"
#include "parallel/mpi_link.h"

namespace orrery {

struct CommGroup {
  int context = 0;  // distinguishes the groups that two ranks share
  std::string name = {};
  std::vector<int> members = {};  // world ranks in order
  int rank = 0;                   // of this process among the members
  int size() const { return static_cast<int>(members.size()); }
};

struct Stage {
  std::function<void(mpi::Exchange&)> post;
  std::function<void()> then;  // may be empty
};

// round_bytes bounds the staging memory of a reduction; it does not change the result. The stages hold
// pointers into the tensors of the call.
std::deque<Stage> stages_of(const Collective& call, const CommGroup& group, int64_t round_bytes);

// dest[i] = op over rows[r][i], in the order of rows, with the rounding that comm.h states. dest may be one
// of the rows.
void reduce_rows(void* dest, const std::vector<const void*>& rows, int64_t count, at::ScalarType dtype,
                 ReduceOp op);

}  // namespace orrery
