#pragma once
// Whether two weight files can be merged.
#include "ckpt/weight_file.h"

namespace orrery {

// Throws Error, listing up to 20 of what differs, unless both have the same tensors of the same shapes, and
// floating ones where the other has.
void require_same_tensors(const WeightFile& first, const WeightFile& other);

}  // namespace orrery
