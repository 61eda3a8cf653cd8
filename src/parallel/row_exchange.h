#pragma once
// The ranks of a Comm as neighbours that share pictures: rank r has the rows below those of rank r - 1. Rows,
// not columns: in memory of the order frame, row, column, channel a row is one run, so that what neighbours
// send each other is a few long pieces, and equal pieces whatever the width. Given to the video autoencoder
// by whoever sets it up.
#include <memory>

#include "ops/conv_input.h"
#include "parallel/comm.h"

namespace orrery {

// comm, on the device of the tensors, outlives the result.
std::shared_ptr<const RowExchange> row_exchange(Comm& comm);

}  // namespace orrery
