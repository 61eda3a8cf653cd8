#include "merge/merge.h"

#include <ATen/ops/empty_like.h>

#include <numeric>

#include "base/error.h"
#include "base/printable.h"
#include "base/rng.h"
#include "ckpt/row_parts.h"
#include "ckpt/weight_writer.h"
#include "merge/combine.h"
#include "merge/same_tensors.h"

namespace orrery {

Uniforms seeded_uniforms(int64_t seed) {
  return [seed](size_t model, const std::string& name, RowRange elements) {
    const Rng rng(static_cast<uint64_t>(seed), "merge.dare." + name, {model});
    return rng.uniform_elements(elements.begin, elements.end);
  };
}

Merger::Merger(MergeInputs inputs, MergeSetup setup)
    : inputs_(std::move(inputs)),
      setup_{completed(std::move(setup.config), inputs_.models.size()), std::move(setup.uniforms),
             setup.part_elements} {
  const MergeConfig& c = setup_.config;
  require(inputs_.base || !has_base(c), "merge: ", names_of(c.method)[static_cast<size_t>(c.method)],
          " wants a base");
  require(inputs_.base || c.base_weight == 0, "merge: base_weight without a base");
  for (const WeightFile* const model : inputs_.models) require_same_tensors(first(), *model);
  if (c.method == MergeMethod::ties && c.trim == Trim::global) find_global_cuts();
}

std::vector<TensorSpec> Merger::specs() const {
  std::vector<TensorSpec> specs;
  for (const auto& [name, entry] : first().entries()) {
    require(entry.dtype.has_value(), first().path().string(), ": tensor ", printable(name),
            ": its dtype cannot be computed with");
    specs.push_back({name, *entry.dtype, entry.shape});
  }
  return specs;
}

bool Merger::is_merged(const std::string& name) const {
  const auto type = first().entry(name).dtype;
  return type && at::isFloatingType(*type) && !name.ends_with("_extra_state");
}

void Merger::release_pages() const {
  if (inputs_.base) inputs_.base->release_pages();
  for (const WeightFile* const model : inputs_.models) model->release_pages();
}

void Merger::tensor(const std::string& name, const std::function<void(const at::Tensor&)>& part) const {
  const WeightEntry& entry = first().entry(name);
  const bool merged = is_merged(name);
  std::vector<Cut> cuts = merged ? cuts_of(name) : std::vector<Cut>();
  for (const RowRange rows : row_parts(entry.shape, setup_.part_elements)) {
    if (!merged || rows.size() == 0) {
      part(first().rows(name, rows));
    } else {
      const at::Tensor exact =
          inputs_.base && has_base(config()) ? with_deltas(name, rows, cuts) : soup(name, rows);
      const at::Tensor result = exact.to(*entry.dtype);
      if (!all_finite(result))
        throw Error(text_of("merge: tensor ", printable(name), " overflows ", *entry.dtype), Exit::bad_data);
      part(result);
    }
    release_pages();
  }
}

// Flat, in double, a copy of its own.
at::Tensor Merger::read(const WeightFile& file, const std::string& name, RowRange rows) const {
  const at::Tensor stored = file.rows(name, rows);
  at::Tensor values = at::empty_like(stored, at::dtype(at::kDouble), at::MemoryFormat::Contiguous);
  values.copy_(stored);
  if (!all_finite(values))
    throw Error(
        text_of(file.path().string(), ": tensor ", printable(name), " holds values that are not finite"),
        Exit::bad_data);
  return values.view({-1});
}

// The changes of a model in these tensors, one after the other.
ElementStream Merger::deltas(size_t model, std::vector<std::string> names) const {
  return [this, model, names = std::move(names)](const std::function<void(const at::Tensor&)>& visit) {
    for (const std::string& name : names) {
      for (const RowRange rows : row_parts(first().entry(name).shape, setup_.part_elements)) {
        if (rows.size() > 0)
          visit(read(*inputs_.models[model], name, rows).sub_(read(*inputs_.base, name, rows)));
        release_pages();
      }
    }
  };
}

std::vector<Cut> Merger::cuts_of(const std::string& name) const {
  if (const auto found = global_cuts_.find(name); found != global_cuts_.end()) return found->second;
  std::vector<Cut> cuts(inputs_.models.size());
  if (config().method != MergeMethod::ties) return cuts;
  const int64_t elements = c10::multiply_integers(first().entry(name).shape);
  for (size_t k = 0; k < cuts.size(); ++k) {
    const double density = config().density[k];
    if (density < 1 && elements > 0) cuts[k] = find_cut(kept_count(density, elements), deltas(k, {name}));
  }
  return cuts;
}

// Over all tensors end to end, in the order of their names.
void Merger::find_global_cuts() {
  std::vector<std::string> names;
  int64_t elements = 0;
  for (const auto& [name, entry] : first().entries()) {
    if (!is_merged(name)) continue;
    names.push_back(name);
    elements += c10::multiply_integers(entry.shape);
    global_cuts_.emplace(name, std::vector<Cut>(inputs_.models.size()));
  }
  for (size_t k = 0; k < inputs_.models.size(); ++k) {
    const double density = config().density[k];
    if (density < 1 && elements > 0)
      spread_ties(k, find_cut(kept_count(density, elements), deltas(k, names)), names);
  }
}

// Tensors are merged in any order, so each is told how many ties are its.
void Merger::spread_ties(size_t model, const Cut& cut, const std::vector<std::string>& names) {
  int64_t left = cut.ties;
  for (const std::string& name : names) {
    int64_t here = 0;
    deltas(model, {name})([&](const at::Tensor& values) { here += count_at(cut.threshold, values); });
    const int64_t kept = std::min(left, here);
    global_cuts_.at(name)[model] = {cut.threshold, kept};
    left -= kept;
  }
}

at::Tensor Merger::soup(const std::string& name, RowRange rows) const {
  const MergeConfig& c = config();
  at::Tensor sum = c.base_weight != 0 ? read(*inputs_.base, name, rows).mul_(c.base_weight) : at::Tensor();
  for (size_t k = 0; k < inputs_.models.size(); ++k) {
    const at::Tensor term = read(*inputs_.models[k], name, rows).mul_(c.weights[k]);
    sum = sum.defined() ? sum.add_(term) : term;
  }
  const double all = std::accumulate(c.weights.begin(), c.weights.end(), c.base_weight);
  return c.normalize == Normalize::yes ? sum.div_(all) : sum;
}

at::Tensor Merger::with_deltas(const std::string& name, RowRange rows, std::vector<Cut>& cuts) const {
  const at::Tensor base = read(*inputs_.base, name, rows);
  std::vector<at::Tensor> changes;
  for (size_t k = 0; k < inputs_.models.size(); ++k) {
    at::Tensor change = read(*inputs_.models[k], name, rows).sub_(base);
    sparsify(change, k, name, rows, cuts);
    changes.push_back(change.mul_(config().weights[k]));
  }
  return combine(changes, config()).mul_(config().lambda).add_(base);
}

void Merger::sparsify(at::Tensor& change, size_t model, const std::string& name, RowRange rows,
                      std::vector<Cut>& cuts) const {
  const MergeMethod method = config().method;
  if (method == MergeMethod::task_arithmetic || config().density[model] >= 1) return;
  if (method == MergeMethod::ties) return apply_cut(cuts[model], change);
  const int64_t row = row_elements(first().entry(name).shape);
  drop(change, setup_.uniforms(model, name, {rows.begin * row, rows.end * row}), config().density[model],
       config().rescale);
}

void write_merged(const Merger& merger, WeightWriter& writer) {
  for (const TensorSpec& spec : writer.specs())
    merger.tensor(spec.name, [&](const at::Tensor& part) { writer.write(part); });
  writer.publish();
}

}  // namespace orrery
