#pragma once
// What benchmarks of steps share: the figures of all ranks, and their middle.
#include <vector>

#include "parallel/comm.h"

namespace orrery {

// The largest over all ranks of each number. Collective; as many numbers on each.
std::vector<double> largest_of_ranks(Comm& host, const std::vector<double>& mine);

// Of an even number the mean of the two in the middle. values is not empty.
double median_of(std::vector<double> values);

}  // namespace orrery
