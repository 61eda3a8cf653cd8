#pragma once
// Merger: one model out of several, tensor by tensor and part by part, so that no more than a few parts are
// in memory. Used by `orrery ckpt merge` and the golden cases.
//
// Weights are read as they are and computed with in double; the result is rounded once, to the dtype that the
// base has for the tensor (a soup without base: the first model). Tensors that are not floating, and
// TransformerEngine's _extra_state, are copied from there. Parts do not change the result.
#include <functional>

#include "ckpt/tensor_spec.h"
#include "ckpt/weight_file.h"
#include "merge/config.h"
#include "merge/trim.h"

namespace orrery {

class WeightWriter;

struct MergeInputs {
  const WeightFile* base = nullptr;  // a soup may do without
  std::vector<const WeightFile*> models;
};

// Uniform float32 numbers in [0, 1) for elements of a tensor of model k: DARE keeps those below the density.
using Uniforms = std::function<at::Tensor(size_t model, const std::string& name, RowRange elements)>;

// Functions of seed, model, name and element alone.
Uniforms seeded_uniforms(int64_t seed);

struct MergeSetup {
  MergeConfig config;
  Uniforms uniforms;      // dare
  int64_t part_elements;  // computed with at a time
};

class Merger {
 public:
  // The inputs must outlive it. Global trim reads all models here. Throws Error for settings as completed()
  // does, and unless all inputs have the same tensors, of the same shapes (with the list of those that
  // differ).
  Merger(MergeInputs inputs, MergeSetup setup);

  const MergeConfig& config() const { return setup_.config; }
  std::vector<TensorSpec> specs() const;  // of the result, by name

  // Calls the function with the merged tensor's rows, in order. Throws Error (bad_data) for values that are
  // not finite, before or after.
  void tensor(const std::string& name, const std::function<void(const at::Tensor&)>& part) const;

 private:
  const WeightFile& first() const { return inputs_.base ? *inputs_.base : *inputs_.models.front(); }
  bool is_merged(const std::string& name) const;
  at::Tensor read(const WeightFile& file, const std::string& name, RowRange rows) const;
  ElementStream deltas(size_t model, std::vector<std::string> names) const;
  std::vector<Cut> cuts_of(const std::string& name) const;
  void find_global_cuts();
  void spread_ties(size_t model, const Cut& cut, const std::vector<std::string>& names);
  at::Tensor soup(const std::string& name, RowRange rows) const;
  at::Tensor with_deltas(const std::string& name, RowRange rows, std::vector<Cut>& cuts) const;
  void sparsify(at::Tensor& delta, size_t model, const std::string& name, RowRange rows,
                std::vector<Cut>& cuts) const;
  void release_pages() const;

  const MergeInputs inputs_;
  const MergeSetup setup_;
  std::map<std::string, std::vector<Cut>> global_cuts_;  // by tensor, one a model
};

void write_merged(const Merger& merger, WeightWriter& writer);  // and publishes

}  // namespace orrery
