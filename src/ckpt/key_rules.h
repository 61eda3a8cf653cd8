#pragma once
// How the names of a weight file become the names of the model, and the strict match of the two. Used by
// load_weights (infer/world_model.h), whatever the file's format.
//
// The rules, which the report names:
//   module        "module." in front of a name, or behind net. or net_ema., goes (DistributedDataParallel)
//   net           the weights are net.NAME, or NAME alone
//   net_ema       their averages are net_ema.NAME; whichever of the two is not asked for is passed over
//   _extra_state  the state of TransformerEngine's modules: passed over
#include "base/config.h"
#include "base/shard.h"
#include "ckpt/weight_file.h"

namespace orrery {

struct LoadRequest {
  std::vector<ShardView> parameters, buffers;  // names without prefix; the rows to fill
  // ema: parameters from net_ema., buffers from net_ema. where the file has them there, else as for model.
  Weights weights = Weights::model;
  // Patterns (* any characters, ? one) of names, with or without prefix. What is missing, unexpected, of
  // another shape or of a wrong dtype under such a name is left out instead of refused.
  std::vector<std::string> partial;
};

// Fills the shards and returns a report: how many tensors were loaded, how many each rule passed over, and by
// name what a pattern left out. Reads only the rows asked for, and keeps no more than one tensor's in memory.
// Before anything is copied: Error (bad_input) unless every tensor of the file and every tensor of the model
// is used exactly once, with the lists of those missing, unexpected, of another shape and of a wrong dtype
// (20 of each, and the count). Floating-point numbers are converted to the model's dtype. A parameter takes
// no others; a buffer takes whole numbers and booleans too; neither takes complex ones. Error also for two
// names that the rules make one, and for a pattern that leaves nothing out.
std::string load_shards(const WeightFile& file, const LoadRequest& request);

// The same match without data: nothing is read and the shards need no memory.
struct WeightMatch {
  std::map<std::string, std::string> sources;  // name in the model -> name in the file
  std::string report;
};
WeightMatch match_weights(const WeightFile& file, const LoadRequest& request);

}  // namespace orrery
