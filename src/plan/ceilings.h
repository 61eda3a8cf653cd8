#pragma once
// Ceilings: what a device and its links reach at best, read from a JSON file; plans reckon with them. A file
// has "name", "device" ("cpu" or "cuda") and, for each key below, {"value": number, "source": "where it is
// from", "estimate": true if it was not measured}. The files of launch/ceilings are built in under their
// names.
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/config.h"
#include "parallel/planned_comm.h"

namespace orrery {

struct Ceilings {
  std::string name;  // "NVIDIA H100 SXM 80GB"
  Device device = Device::cuda;
  // Memory of a rank
  double memory_gib = 0;
  double reserved_gib = 0;   // taken by driver, libraries and their workspaces
  double fragmentation = 0;  // share of the tensors' peak that the allocator loses
  // Speeds, a rank
  double peak_tflops = 0;  // that MFU is a share of
  double matmul_tflops = 0, matmul_float32_tflops = 0;
  // From 1024 keys on, by cuDNN; backward with numerics.deterministic has a rate of its own
  double attention_forward_tflops = 0, attention_backward_tflops = 0;
  double deterministic_attention_backward_tflops = 0;
  // What our own kernels take (ops/attention_tiles.h); 0 where they do not run
  double tiled_attention_forward_tflops = 0, tiled_attention_backward_tflops = 0;
  double deterministic_tiled_attention_backward_tflops = 0;
  double short_attention_forward_tflops = 0, short_attention_backward_tflops = 0;  // fewer than 1024 keys
  double memory_gb_per_s = 0;                                                      // read and written
  double op_us = 0;            // least time of an op: its launches
  double product_tail_us = 0;  // at the end of a matrix product, when part of the device has nothing to do
  // Links, a rank and direction
  double ranks_per_node = 0;
  double inside_gb_per_s = 0, between_gb_per_s = 0;  // in a node, between nodes
  double inside_latency_us = 0, between_latency_us = 0;
  std::vector<std::string> estimates;  // keys whose values were not measured

  Links links() const;
};

// A built-in name (h100, h200, b200, cpu) or a file. Throws Error that names the file and the key for
// anything missing, unknown, negative or without source.
Ceilings read_ceilings(const std::string& name_or_file);
std::vector<std::string> ceilings_names();
// Of a run of this program, which may lack our own kernels of attention: it was built without sm_90a.
Ceilings as_built(Ceilings ceilings);

// In ceilings_table.cpp, which CMake makes from launch/ceilings/*.json.
struct BuiltInCeilings {
  std::string_view name, json;
};
const std::vector<BuiltInCeilings>& built_in_ceilings();

}  // namespace orrery
