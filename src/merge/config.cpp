#include "merge/config.h"

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"

namespace orrery {
namespace {

template <class... Words>
constexpr std::array<std::string_view, sizeof...(Words)> words(Words... w) {
  return {w...};
}

constexpr auto kMethod = words("soup", "task_arithmetic", "ties", "dare_linear", "dare_ties");
constexpr auto kConsensus = words("sum", "count");
constexpr auto kTrim = words("tensor", "global");
constexpr auto kNormalize = words("auto", "yes", "no");

bool has_density(MergeMethod m) {
  return m == MergeMethod::ties || m == MergeMethod::dare_linear || m == MergeMethod::dare_ties;
}
bool is_dare(MergeMethod m) {
  return m == MergeMethod::dare_linear || m == MergeMethod::dare_ties;
}
bool has_election(MergeMethod m) {
  return m == MergeMethod::ties || m == MergeMethod::dare_ties;
}

void check_effects(const MergeConfig& c) {
  const MergeConfig none;
  const std::string_view method = kMethod[static_cast<size_t>(c.method)];
  const auto only = [&](bool has_effect, bool is_default, std::string_view setting) {
    require(has_effect || is_default, "merge: ", setting, " has no effect on ", method);
  };
  only(c.method == MergeMethod::soup, c.base_weight == none.base_weight, "base_weight");
  only(has_density(c.method), c.density.empty(), "density");
  only(has_base(c), c.lambda == none.lambda, "lambda");
  only(has_election(c.method), c.consensus == none.consensus, "consensus");
  only(c.method == MergeMethod::ties, c.trim == none.trim, "trim");
  only(is_dare(c.method), c.rescale == none.rescale, "rescale");
  only(is_dare(c.method), c.seed == none.seed, "seed");
}

std::vector<double> one_each(std::vector<double> values, size_t models, std::string_view what) {
  if (values.size() == 1) values.assign(models, values.front());
  require(values.size() == models, "merge: ", what, " has ", values.size(), " numbers for ", models,
          " models");
  for (const double value : values) require(std::isfinite(value), "merge: ", what, " ", value);
  return values;
}

}  // namespace

std::span<const std::string_view> names_of(MergeMethod) {
  return kMethod;
}
std::span<const std::string_view> names_of(Consensus) {
  return kConsensus;
}
std::span<const std::string_view> names_of(Trim) {
  return kTrim;
}
std::span<const std::string_view> names_of(Normalize) {
  return kNormalize;
}

bool has_base(const MergeConfig& config) {
  return config.method != MergeMethod::soup;
}

MergeConfig completed(MergeConfig c, size_t models) {
  require(models > 0, "merge: no models given");
  check_effects(c);
  if (c.weights.empty()) c.weights = {1};
  c.weights = one_each(std::move(c.weights), models, "weights");
  require(std::isfinite(c.lambda), "merge: lambda ", c.lambda);
  require(std::isfinite(c.base_weight), "merge: base_weight ", c.base_weight);
  if (has_density(c.method)) {
    require(!c.density.empty(), "merge: density is missing, the share of each model's changes that is kept");
    c.density = one_each(std::move(c.density), models, "density");
    for (const double density : c.density)
      require(density > 0 && density <= 1, "merge: density ", density, ", wanted above 0 and up to 1");
  }
  if (c.normalize == Normalize::by_method) {
    const bool yes = c.method == MergeMethod::soup || c.method == MergeMethod::ties;
    c.normalize = yes ? Normalize::yes : Normalize::no;
  }
  if (c.method == MergeMethod::soup && c.normalize == Normalize::yes) {
    const double sum = std::accumulate(c.weights.begin(), c.weights.end(), c.base_weight);
    require(std::abs(sum) > 1e-8, "merge: the weights of the soup add up to ", sum);
  }
  return c;
}

std::string json_of(const MergeConfig& c) {
  nlohmann::ordered_json json{{"method", kMethod[static_cast<size_t>(c.method)]}, {"weights", c.weights}};
  if (c.method == MergeMethod::soup) json["base_weight"] = c.base_weight;
  if (has_density(c.method)) json["density"] = c.density;
  if (has_base(c)) json["lambda"] = c.lambda;
  json["normalize"] = kNormalize[static_cast<size_t>(c.normalize)];
  if (has_election(c.method)) json["consensus"] = kConsensus[static_cast<size_t>(c.consensus)];
  if (c.method == MergeMethod::ties) json["trim"] = kTrim[static_cast<size_t>(c.trim)];
  if (is_dare(c.method)) {
    json["rescale"] = c.rescale;
    json["seed"] = c.seed;
  }
  return json.dump();
}

}  // namespace orrery
