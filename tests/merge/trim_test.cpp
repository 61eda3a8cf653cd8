#include "merge/trim.h"

#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/rng.h"

namespace orrery {
namespace {

// In parts of 100.
ElementStream stream_of(const at::Tensor& values) {
  return [values](const std::function<void(const at::Tensor&)>& visit) {
    for (int64_t at = 0; at < values.numel(); at += 100)
      visit(values.narrow(0, at, std::min<int64_t>(100, values.numel() - at)));
  };
}

TEST(Trim, cut_is_the_exact_quantile_at_every_count) {
  // Rounded to a few values and scaled over the range of float32, so that there are ties and denormals.
  const Rng rng(3, "test.trim");
  at::Tensor values = (rng.normal_tensor({503}) * 20).round().to(at::kDouble);
  values.narrow(0, 0, 100).mul_(1e-44);
  values.narrow(0, 100, 100).mul_(1e36);
  std::vector<float> sorted;
  for (int64_t i = 0; i < 503; ++i) sorted.push_back(static_cast<float>(std::abs(values[i].item<double>())));
  std::sort(sorted.rbegin(), sorted.rend());
  for (int64_t keep = 1; keep <= 503; ++keep) {
    Cut cut = find_cut(keep, stream_of(values));
    EXPECT_EQ(std::bit_cast<float>(cut.threshold), sorted[static_cast<size_t>(keep - 1)]);
    at::Tensor marked = values.clone();
    const int64_t above = std::count_if(sorted.begin(), sorted.end(),
                                        [&](float m) { return m > std::bit_cast<float>(cut.threshold); });
    EXPECT_EQ(above + cut.ties, keep);
    EXPECT_LE(cut.ties, count_at(cut.threshold, values));
    if (cut.threshold == 0) continue;  // a kept zero looks like a dropped one
    apply_cut(cut, marked);
    EXPECT_EQ((marked != 0).sum().item<int64_t>(), keep);
  }
}

TEST(Trim, at_least_one_element_is_kept_and_counts_round_down) {
  EXPECT_EQ(kept_count(0.5, 7), 3);
  EXPECT_EQ(kept_count(0.01, 7), 1);
  EXPECT_EQ(kept_count(1, 7), 7);
  EXPECT_EQ(kept_count(0.5, 0), 0);
}

}  // namespace
}  // namespace orrery
