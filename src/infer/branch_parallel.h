#pragma once
// The two branches of classifier-free guidance on two ranks, for latency. Used by FilmMaker.
#include "flow/generate.h"
#include "parallel/comm.h"

namespace orrery {

// Of a pair: rank 0 evaluates the conditional branch, rank 1 the other, and each gets both, so that both take
// the same step. Velocities travel as they are: the same bits as on one rank. A group of one: empty. Throws
// Error for larger groups.
flow::BranchesFn branches_over(Comm& pair);

}  // namespace orrery
