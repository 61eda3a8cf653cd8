#pragma once
// Runners of the cases about how pictures become the model's input: condition frames of generation, clips of
// a local data set, and pictures padded to a bucket's shape.
#include "parity/case.h"

namespace orrery {

NamedTensors run_prep_dit_condition(const Case& c, at::Device device);
NamedTensors run_prep_dit_data(const Case& c, at::Device device);
NamedTensors run_prep_dit_pad(const Case& c, at::Device device);

}  // namespace orrery
