#pragma once
// Which of a checkpoint's weights are meant: those that were trained (net.*) or their averages (net_ema.*,
// which then take the names net.*, as in the files that the reference's converter writes). Used by export,
// diff and merge.
#include <span>

#include "ckpt/weight_file.h"

namespace orrery {

enum class WeightChoice {
  automatic,  // the averages where there are any, else the weights
  ema,        // net_ema.* as net.*, and what has no average (buffers); Error if there are no averages
  model,      // net.* alone; of a file that has no such names, everything
  all         // everything, under its own name
};
std::span<const std::string_view> names_of(WeightChoice);

std::unique_ptr<WeightFile> select_weights(std::unique_ptr<WeightFile> file, WeightChoice choice);

}  // namespace orrery
