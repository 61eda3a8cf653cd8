// Every method against a plain computation in double that shares no code with it: sorted lists instead of
// histograms, whole tensors instead of parts.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "merge/models.h"

namespace orrery {
namespace {

using test::Family;
using test::Model;
using test::numbers_of;

using Numbers = std::vector<double>;

// All floating tensors end to end, in the order of their names.
Numbers flat(const Model& model) {
  Numbers all;
  for (const auto& [name, tensor] : model) {
    if (!tensor.is_floating_point() || name.ends_with("_extra_state")) continue;
    const Numbers numbers = numbers_of(tensor);
    all.insert(all.end(), numbers.begin(), numbers.end());
  }
  return all;
}

void keep_largest(Numbers& d, size_t begin, size_t end, double density) {
  if (begin == end || density >= 1) return;
  std::vector<size_t> order(end - begin);
  std::iota(order.begin(), order.end(), begin);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return std::abs(d[a]) > std::abs(d[b]); });
  const auto kept = std::max<size_t>(1, static_cast<size_t>(density * static_cast<double>(end - begin)));
  for (size_t i = kept; i < order.size(); ++i) d[order[i]] = 0;
}

void sparsify(Numbers& d, const Model& base, const MergeConfig& c, size_t k) {
  if (c.method == MergeMethod::ties && c.trim == Trim::global)
    return keep_largest(d, 0, d.size(), c.density[k]);
  size_t begin = 0;
  for (const auto& [name, tensor] : base) {
    if (!tensor.is_floating_point() || name.ends_with("_extra_state")) continue;
    const size_t end = begin + static_cast<size_t>(tensor.numel());
    if (c.method == MergeMethod::ties) {
      keep_largest(d, begin, end, c.density[k]);
    } else if (c.method != MergeMethod::task_arithmetic) {
      const Numbers uniform = numbers_of(seeded_uniforms(c.seed)(k, name, {0, tensor.numel()}));
      for (size_t i = begin; i < end; ++i)
        d[i] = c.density[k] < 1 && uniform[i - begin] >= c.density[k] ? 0
               : c.rescale                                            ? d[i] / c.density[k]
                                                                      : d[i];
    }
    begin = end;
  }
}

double sign(double x) {
  return x > 0 ? 1 : x < 0 ? -1 : 0;
}

double combined(const Numbers& d, const MergeConfig& c) {
  const bool elects = c.method == MergeMethod::ties || c.method == MergeMethod::dare_ties;
  double vote = 0, top = 0, bottom = 0;
  for (const double x : d) vote += c.consensus == Consensus::count ? sign(x) : x;
  for (size_t k = 0; k < d.size(); ++k) {
    if (elects && sign(d[k]) != (vote >= 0 ? 1 : -1)) continue;
    top += d[k];
    bottom += c.weights[k];
  }
  const bool by_method = c.method == MergeMethod::ties;
  const bool divides = c.normalize == Normalize::yes || (c.normalize == Normalize::by_method && by_method);
  return divides && bottom != 0 ? top / bottom : top;
}

Numbers expected(const Family& family, const MergeConfig& c) {
  if (c.method == MergeMethod::soup) {
    Numbers sum = flat(family.base);
    double all = c.base_weight;
    for (double& x : sum) x *= c.base_weight;
    for (size_t k = 0; k < family.models.size(); ++k) {
      const Numbers m = flat(family.models[k]);
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += c.weights[k] * m[i];
      all += c.weights[k];
    }
    for (double& x : sum) x /= c.normalize == Normalize::no ? 1 : all;
    return sum;
  }
  const Numbers b = flat(family.base);
  std::vector<Numbers> changes;
  for (size_t k = 0; k < family.models.size(); ++k) {
    Numbers d = flat(family.models[k]);
    for (size_t i = 0; i < d.size(); ++i) d[i] -= b[i];
    sparsify(d, family.base, c, k);
    for (double& x : d) x *= c.weights[k];
    changes.push_back(std::move(d));
  }
  Numbers result;
  for (size_t i = 0; i < b.size(); ++i) {
    Numbers d;
    for (const Numbers& change : changes) d.push_back(change[i]);
    result.push_back(b[i] + c.lambda * combined(d, c));
  }
  return result;
}

// Half a unit in the last place of the result's dtype.
void expect_merge(const Family& family, const MergeConfig& c, double rounding) {
  const Model result = test::merged(family, c, 5);
  const Numbers got = flat(result), want = expected(family, c);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(got[i], want[i], std::abs(want[i]) * rounding + 1e-300) << json_of(c) << " " << i;
  for (const char* const name : {"net.counter", "net.blocks.0._extra_state"})
    EXPECT_TRUE(test::same_bits(result.at(name), family.base.at(name))) << name;
}

std::vector<MergeConfig> configs() {
  std::vector<MergeConfig> all;
  const std::vector<double> uneven{0.7, -0.2, 1.1, 0.4};
  for (const auto& weights : {std::vector<double>(4, 1.0), uneven}) {
    all.push_back({.method = MergeMethod::soup, .weights = weights});
    all.push_back(
        {.method = MergeMethod::soup, .weights = weights, .base_weight = 0.5, .normalize = Normalize::no});
    for (const auto normalize : {Normalize::by_method, Normalize::yes, Normalize::no}) {
      all.push_back({.method = MergeMethod::task_arithmetic,
                     .weights = weights,
                     .lambda = 0.6,
                     .normalize = normalize});
      for (const auto& density : {std::vector<double>(4, 0.2), {0.1, 1.0, 0.55, 0.9}}) {
        all.push_back({.method = MergeMethod::dare_linear,
                       .weights = weights,
                       .density = density,
                       .normalize = normalize,
                       .rescale = false,
                       .seed = 3});
        for (const auto consensus : {Consensus::sum, Consensus::count}) {
          for (const auto trim : {Trim::tensor, Trim::global})
            all.push_back({.method = MergeMethod::ties,
                           .weights = weights,
                           .density = density,
                           .lambda = 1.2,
                           .normalize = normalize,
                           .consensus = consensus,
                           .trim = trim});
          all.push_back({.method = MergeMethod::dare_ties,
                         .weights = weights,
                         .density = density,
                         .normalize = normalize,
                         .consensus = consensus,
                         .seed = 9});
        }
      }
    }
  }
  return all;
}

TEST(MergeReference, float32_models_give_the_double_result_rounded_once) {
  const Family family = test::random_family(4);
  for (const MergeConfig& c : configs()) expect_merge(family, c, 0x1p-24 * 1.0001);
}

TEST(MergeReference, bfloat16_models_have_ties_and_give_the_double_result_rounded_once) {
  const Family family = test::random_family(4, at::kBFloat16);
  for (const MergeConfig& c : configs()) expect_merge(family, c, 0x1p-8 * 1.0001);
}

TEST(MergeReference, float64_models_keep_their_precision) {
  const Family family = test::random_family(4, at::kDouble);
  for (const MergeConfig& c : configs()) expect_merge(family, c, 1e-12);
}

}  // namespace
}  // namespace orrery
