#pragma once
// Runners of the cases pt_contents and dcp_contents: reading a PyTorch file or a distributed checkpoint that
// lies beside the golden file gives the golden file's tensors, bit for bit.
#include "parity/registry.h"

namespace orrery {

NamedTensors run_pt_contents(const Case& c, at::Device device);   // config.file
NamedTensors run_dcp_contents(const Case& c, at::Device device);  // config.folder; names begin with the part

}  // namespace orrery
