#pragma once
// The parts of `orrery ckpt`: each reads its own arguments, as commands.h says. Called by cli/ckpt.cpp.
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "ckpt/select_weights.h"

namespace orrery::cli {

Exit ckpt_ls(const std::vector<std::string>& arguments);
Exit ckpt_verify(const std::vector<std::string>& arguments);
Exit ckpt_export(const std::vector<std::string>& arguments);
Exit ckpt_import(const std::vector<std::string>& arguments);
Exit ckpt_diff(const std::vector<std::string>& arguments);
Exit ckpt_merge(const std::vector<std::string>& arguments);
Exit ckpt_prune(const std::vector<std::string>& arguments);

// Help that all parts share: what may stand for weights.
inline constexpr const char* kWeightsHelp =
    "WEIGHTS: a file (.safetensors, .pt, *.safetensors.index.json), or a folder (a run, for its newest\n"
    "checkpoint; a checkpoint of a run; a distributed one; one with safetensors).";

inline std::unique_ptr<WeightFile> open_choice(const std::string& path, WeightChoice choice) {
  return select_weights(open_weights(path), choice);
}

}  // namespace orrery::cli
