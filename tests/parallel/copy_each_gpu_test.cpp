// The copies and sums of many tensors in one CUDA kernel against ATen's one by one, on random bits: every
// kind of number, and the halves between neighbours.
#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <numeric>

#include "gpu_speed.h"
#include "parallel/copy_each.h"

namespace orrery {
namespace {

at::TensorOptions on_gpu(at::ScalarType type) {
  return at::TensorOptions().device(at::kCUDA).dtype(type);
}

at::Tensor random_bits(at::IntArrayRef shape, at::ScalarType type) {
  if (type == at::kDouble) return random_bits(shape, at::kFloat).to(at::kDouble);
  const bool is_half = type != at::kFloat;
  const int64_t low = is_half ? -(int64_t{1} << 15) : -(int64_t{1} << 31);
  return at::randint(low, -low, shape, on_gpu(at::kLong)).to(is_half ? at::kShort : at::kInt).view(type);
}

testing::AssertionResult same_numbers(const at::Tensor& got, const at::Tensor& want) {
  const at::Tensor wrong =
      at::isnan(got).ne(at::isnan(want)).logical_or(got.ne(want).logical_and(at::isnan(want).logical_not()));
  const auto count = wrong.sum().item<int64_t>();
  if (count == 0) return testing::AssertionSuccess();
  const auto first = wrong.flatten().to(at::kInt).argmax().item<int64_t>();
  return testing::AssertionFailure() << count << " of " << got.numel() << " elements of " << got.sizes()
                                     << " differ, first " << first << ": "
                                     << got.flatten()[first].item<double>() << ", wanted "
                                     << want.flatten()[first].item<double>();
}

// One element, odd counts, a chunk of the kernel less one and more one, several chunks, and nothing.
const std::vector<int64_t> kCounts = {1, 7, 8, 33, 8191, 8192, 8193, 70001, 0, 4096};

// offset: elements of a storage before its tensor. copies: so many pairs that one launch does not hold them.
TensorPairs vectors(at::ScalarType to, at::ScalarType from, int64_t offset, int copies) {
  TensorPairs pairs;
  for (int c = 0; c < copies; ++c)
    for (const int64_t count : kCounts)
      pairs.add(random_bits({count + offset}, to).narrow(0, offset, count),
                random_bits({count + 3 * offset}, from).narrow(0, 3 * offset, count));
  return pairs;
}
// Rows on one side or both, with steps that wide accesses may take or not, and what no kernel takes.
TensorPairs views(at::ScalarType to, at::ScalarType from) {
  TensorPairs pairs;
  for (const int64_t step : {16400, 16401}) {
    pairs.add(random_bits({3, step}, to).narrow(1, 16, 9000), random_bits({3, 9000}, from));
    pairs.add(random_bits({27000}, to).view({3, 9000}), random_bits({3, step}, from).narrow(1, 16, 9000));
    pairs.add(random_bits({5, step}, to).narrow(1, 1, 77), random_bits({5, 100}, from).narrow(1, 8, 77));
  }
  pairs.add(random_bits({40, 30}, to), random_bits({30, 40}, from).t());
  pairs.add(random_bits({4, 5, 6}, to).transpose(0, 1), random_bits({5, 4, 6}, from));
  pairs.add(random_bits({10, 1}, to), random_bits({10, 8}, from).narrow(1, 3, 1));
  return pairs;
}

void expect_as_aten(const TensorPairs& pairs, bool adds) {
  std::vector<at::Tensor> wants;
  for (size_t i = 0; i < pairs.to.size(); ++i) {
    wants.push_back(pairs.to[i].clone());
    adds ? wants[i].add_(pairs.from[i]) : wants[i].copy_(pairs.from[i]);
  }
  adds ? add_each(pairs) : copy_each(pairs);
  for (size_t i = 0; i < pairs.to.size(); ++i)
    EXPECT_TRUE(same_numbers(pairs.to[i], wants[i])) << "pair " << i;
}

class CopyEach : public testing::Test {
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }
};

TEST_F(CopyEach, has_the_numbers_of_copies_one_by_one) {
  for (const at::ScalarType to : {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble})
    for (const at::ScalarType from : {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble}) {
      SCOPED_TRACE(testing::Message() << from << " to " << to);
      for (const int64_t offset : {0, 1}) expect_as_aten(vectors(to, from, offset, 1), false);
      expect_as_aten(vectors(to, from, 0, 14), false);
      expect_as_aten(views(to, from), false);
    }
}

TEST_F(CopyEach, has_the_numbers_of_sums_one_by_one) {
  for (const at::ScalarType to : {at::kFloat, at::kBFloat16, at::kDouble})
    for (const at::ScalarType from : {at::kFloat, at::kBFloat16, at::kHalf}) {
      SCOPED_TRACE(testing::Message() << from << " onto " << to);
      for (const int64_t offset : {0, 1}) expect_as_aten(vectors(to, from, offset, 1), true);
      expect_as_aten(views(to, from), true);
    }
}

TEST_F(CopyEach, keeps_what_lies_between_rows) {
  const at::Tensor whole = at::zeros({4, 64}, on_gpu(at::kFloat));
  copy_each({{whole.narrow(1, 8, 40)}, {at::ones({4, 40}, on_gpu(at::kBFloat16))}});
  EXPECT_EQ(whole.sum().item<float>(), 160);
  EXPECT_EQ(whole.narrow(1, 8, 40).sum().item<float>(), 160);
}

TEST_F(CopyEach, takes_pairs_of_several_types_together) {
  TensorPairs pairs = vectors(at::kBFloat16, at::kFloat, 0, 1);
  for (const auto& [to, from] : {std::pair{at::kFloat, at::kBFloat16}, {at::kHalf, at::kHalf}}) {
    const TensorPairs more = views(to, from);
    for (size_t i = 0; i < more.to.size(); ++i) pairs.add(more.to[i], more.from[i]);
  }
  expect_as_aten(pairs, false);
  copy_each({});
}

// Times the copies around a block of the 2B model sharded over eight GPUs.
class CopyEachSpeed : public CopyEach {
 protected:
  static constexpr int64_t kRanks = 8;
  // Elements of a rank's part of each parameter.
  static std::vector<int64_t> parts() {
    const int64_t square = 2048 * 2048, text = 2048 * 1024, mlp = 2048 * 8192, down = 2048 * 256,
                  up = 256 * 6144;
    std::vector<int64_t> out = {square, square, square, square, 128,  128,  square, text, text, square,
                                128,    128,    mlp,    mlp,    down, down, down,   up,   up,   up};
    for (int64_t& numel : out) numel /= kRanks;
    return out;
  }
  static TensorPairs rows(at::ScalarType to, at::ScalarType from, bool pieces_are_read) {
    const std::vector<int64_t> numels = parts();
    const int64_t piece = std::accumulate(numels.begin(), numels.end(), int64_t{0});
    const at::Tensor pieces = at::randn({kRanks, piece}, on_gpu(pieces_are_read ? from : to));
    TensorPairs pairs;
    int64_t offset = 0;
    for (const int64_t numel : numels) {
      const at::Tensor columns = pieces.narrow(1, offset, numel);
      const at::Tensor whole = at::randn({kRanks, numel}, on_gpu(pieces_are_read ? to : from));
      pieces_are_read ? pairs.add(whole, columns) : pairs.add(columns, whole);
      offset += numel;
    }
    return pairs;
  }
  static void time(const SpeedTable& table, const std::string& what, const TensorPairs& pairs) {
    size_t bytes = 0;
    for (size_t i = 0; i < pairs.to.size(); ++i)
      bytes += static_cast<size_t>(pairs.to[i].numel() *
                                   (pairs.to[i].element_size() + pairs.from[i].element_size()));
    table.row((what + ", together").c_str(), bytes, [&] { copy_each(pairs); });
    table.row((what + ", one by one").c_str(), bytes, [&] {
      for (size_t i = 0; i < pairs.to.size(); ++i) pairs.to[i].copy_(pairs.from[i]);
    });
  }
};

TEST_F(CopyEachSpeed, of_a_unit) {
  const at::Tensor copied = at::randn({int64_t{1} << 28}, on_gpu(at::kFloat));
  const SpeedTable table(at::empty_like(copied), copied);
  TensorPairs shards;
  for (const int64_t numel : parts())
    shards.add(at::empty({numel}, on_gpu(at::kBFloat16)), at::randn({numel}, on_gpu(at::kFloat)));
  time(table, "shards to a piece", shards);
  time(table, "pieces to weights", rows(at::kBFloat16, at::kBFloat16, true));
  time(table, "gradients to pieces", rows(at::kFloat, at::kBFloat16, false));
}

}  // namespace
}  // namespace orrery
