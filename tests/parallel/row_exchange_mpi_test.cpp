// Rows of pictures that ranks share: each gets its neighbours' rows, and all of them joined.
#include "parallel/row_exchange.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"
#include "base/rng.h"
#include "world.h"

namespace orrery {
namespace {

constexpr int64_t kRows = 3;

struct RowExchangeMpi : testing::Test {
  Comm& comm = test_world().comm();
  const std::shared_ptr<const RowExchange> exchange = row_exchange(comm);

  // Rank r has 2 + r % 2 rows.
  std::vector<int64_t> heights() const {
    std::vector<int64_t> out;
    for (int r = 0; r < comm.size(); ++r) out.push_back(2 + r % 2);
    return out;
  }
  int64_t begin(int rank) const {
    const auto all = heights();
    return std::accumulate(all.begin(), all.begin() + rank, int64_t{0});
  }
  at::Tensor whole(at::ScalarType type) const {
    return Rng(7, "rows").normal_tensor({2, 3, 4, begin(comm.size()), 5}).to(type);
  }
  at::Tensor mine(const at::Tensor& whole) const {
    return whole.narrow(kRows, begin(comm.rank()), heights()[comm.rank()]);
  }
};

TEST_F(RowExchangeMpi, a_halo_holds_the_neighbours_rows_and_keeps_what_lies_beyond_the_picture) {
  for (const auto type : {at::kFloat, at::kBFloat16})
    for (const auto& [above, below] : {std::pair<int64_t, int64_t>{1, 1}, {0, 1}, {2, 0}}) {
      const at::Tensor picture = whole(type);
      const int64_t height = heights()[comm.rank()], first = begin(comm.rank()) - above;
      const at::Tensor frames = at::full({2, 3, 4, above + height + below, 5}, 9, picture.options());
      frames.narrow(kRows, above, height).copy_(mine(picture));
      exchange->fill(frames, above, below);
      for (int64_t row = 0; row < frames.size(kRows); ++row) {
        const bool is_inside = first + row >= 0 && first + row < picture.size(kRows);
        const at::Tensor got = frames.select(kRows, row);
        EXPECT_TRUE(is_inside ? at::equal(got, picture.select(kRows, first + row))
                              : got.eq(9).all().item<bool>())
            << "rank " << comm.rank() << ", row " << row << " of a halo of " << above << " and " << below;
      }
    }
}

TEST_F(RowExchangeMpi, every_rank_gets_the_rows_of_all) {
  const at::Tensor picture = whole(at::kFloat);
  EXPECT_TRUE(at::equal(exchange->gather(mine(picture), heights()), picture));
}

TEST_F(RowExchangeMpi, what_does_not_fit_is_refused_by_every_rank) {
  const at::Tensor picture = whole(at::kFloat);
  EXPECT_THROW(exchange->gather(mine(picture).narrow(kRows, 0, 1), heights()), Error);
  EXPECT_THROW(exchange->fill(at::full({1, 1, 1, 4, 1}, 9.0), 2, 1), Error);  // 1 row, 2 are wanted
  exchange->require_same({3, 5}, at::kCPU, "sizes");
  if (comm.size() > 1) EXPECT_THROW(exchange->require_same({3, comm.rank()}, at::kCPU, "sizes"), Error);
}

}  // namespace
}  // namespace orrery
