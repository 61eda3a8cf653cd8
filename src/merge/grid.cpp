#include "merge/grid.h"

#include <functional>

#include "base/error.h"

namespace orrery {
namespace {

const std::vector<int> kSoupTenths{0, 1, 2, 3, 5};

// All lists of so many of these tenths that add up to ten.
std::vector<std::vector<int>> simplex(size_t ingredients) {
  std::vector<std::vector<int>> found;
  std::vector<int> chosen;
  const std::function<void(int)> extend = [&](int left) {
    if (chosen.size() == ingredients) {
      if (left == 0) found.push_back(chosen);
      return;
    }
    for (const int tenths : kSoupTenths) {
      if (tenths > left) break;
      chosen.push_back(tenths);
      extend(left - tenths);
      chosen.pop_back();
    }
  };
  extend(10);
  return found;
}

std::vector<GridPoint> soups(const MergeConfig& config, size_t models, bool base_is_ingredient) {
  constexpr size_t kMostIngredients = 16;
  require(config.weights.empty() && config.base_weight == 0, "merge: the grid chooses the soup's weights");
  require(models + base_is_ingredient <= kMostIngredients, "merge: a grid over ", models,
          " models would be too large");
  std::vector<GridPoint> points;
  for (const std::vector<int>& tenths : simplex(models + base_is_ingredient)) {
    GridPoint point{.name = "soup", .config = config};
    for (const int t : tenths) point.name += text_of("_", t / 10.0);
    for (size_t k = 0; k < models; ++k) point.config.weights.push_back(tenths[k] / 10.0);
    if (base_is_ingredient) point.config.base_weight = tenths.back() / 10.0;
    points.push_back(std::move(point));
  }
  return points;
}

}  // namespace

std::vector<GridPoint> merge_grid(const MergeConfig& config, size_t models, bool base_is_ingredient) {
  if (config.method == MergeMethod::soup) return soups(config, models, base_is_ingredient);
  require(config.density.empty() && config.lambda == 1, "merge: the grid chooses density and lambda");
  const bool is_dare = config.method == MergeMethod::dare_linear || config.method == MergeMethod::dare_ties;
  const std::vector<double> lambdas = is_dare ? std::vector{0.5, 0.8, 1.0} : std::vector{0.5, 0.8, 1.0, 1.2};
  std::vector<std::vector<double>> densities{{0.2}, {0.5}, {0.8}};
  if (is_dare) densities = {{0.1}, {0.3}, {0.5}, {0.9}};
  if (config.method == MergeMethod::task_arithmetic) densities = {{}};
  std::vector<GridPoint> points;
  for (const std::vector<double>& density : densities) {
    for (const double lambda : lambdas) {
      GridPoint point{.name = std::string(names_of(config.method)[static_cast<size_t>(config.method)]),
                      .config = config};
      if (!density.empty()) point.name += text_of("_density", density.front());
      point.name += text_of("_lambda", lambda);
      point.config.density = density;
      point.config.lambda = lambda;
      points.push_back(std::move(point));
    }
  }
  return points;
}

}  // namespace orrery
