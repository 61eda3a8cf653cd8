#include "parallel/data_parallel.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "world.h"

namespace orrery {
namespace {

std::vector<at::Tensor> gradients_of(int rank) {
  const auto draw = [&](uint64_t number, at::IntArrayRef shape) {
    return Rng(2, "gradients", {static_cast<uint64_t>(rank), number}).normal_tensor(shape);
  };
  return {draw(0, {33, 7}),
          draw(1, {}),
          draw(2, {0, 4}),
          draw(3, {5000}),
          draw(4, {12, 11}).t(),
          draw(5, {1000}).to(at::kBFloat16),
          draw(6, {70, 3}).to(at::kDouble),
          draw(7, {9})};
}

std::vector<at::Tensor> expected(int size) {
  auto sums = gradients_of(0);
  for (auto& sum : sums)
    if (sum.scalar_type() == at::kBFloat16) sum = sum.to(at::kFloat);
  for (int r = 1; r < size; ++r) {
    const auto more = gradients_of(r);
    for (size_t i = 0; i < sums.size(); ++i) sums[i] = sums[i] + more[i].to(sums[i].scalar_type());
  }
  const auto like = gradients_of(0);
  for (size_t i = 0; i < sums.size(); ++i) sums[i] = (sums[i] / size).to(like[i].scalar_type());
  return sums;
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST(DataParallel, gradients_become_their_mean_bitwise_for_every_bucket_size) {
  Comm& comm = test_world().comm();
  const auto wanted = expected(comm.size());
  for (const int64_t bucket_bytes : {1, 100, 4000, 25 << 20}) {
    const auto gradients = gradients_of(comm.rank());
    all_reduce_gradients(comm, gradients, ReduceOp::mean, bucket_bytes);
    for (size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_EQ(gradients[i].scalar_type(), wanted[i].scalar_type());
      EXPECT_TRUE(at::equal(gradients[i], wanted[i])) << "gradient " << i << ", buckets of " << bucket_bytes;
    }
  }
}

TEST(DataParallel, undefined_and_integer_gradients_are_refused) {
  Comm& comm = test_world().comm();
  EXPECT_THROW(all_reduce_gradients(comm, {at::Tensor()}, ReduceOp::mean), Error);
  EXPECT_THROW(all_reduce_gradients(comm, {at::zeros({2}, at::kLong)}, ReduceOp::sum), Error);
}

TEST(DataParallel, broadcast_overwrites_tensors_of_any_stride) {
  Comm& comm = test_world().comm();
  const int root = comm.size() - 1;
  const auto tensors = gradients_of(comm.rank()), wanted = gradients_of(root);
  broadcast_tensors(comm, tensors, root, "weights");
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_TRUE(at::equal(tensors[i], wanted[i])) << i;
}

TEST(Agreement, passes_where_texts_are_the_same) {
  require_agreement(test_world().comm(), "configuration", "train.lr = 1\ntrain.steps = 3\n");
  require_agreement(test_world().comm(), "configuration", "");
}

TEST(Agreement, names_the_rank_and_the_line) {
  Comm& comm = test_world().comm();
  if (comm.size() < 3) GTEST_SKIP() << "two ranks have no majority";
  const std::string text =
      comm.rank() == 1 ? "train.lr = 1\ntrain.steps = 4\n" : "train.lr = 1\ntrain.steps = 3\n";
  const std::string message = message_of([&] { require_agreement(comm, "configuration", text); });
  EXPECT_THAT(message, testing::HasSubstr("rank 1 of "));
  EXPECT_THAT(message, testing::HasSubstr("has 'train.steps = 4'"));
  EXPECT_THAT(message, testing::HasSubstr("has 'train.steps = 3'"));
}

TEST(Agreement, a_text_that_begins_like_the_others_differs_too) {
  Comm& comm = test_world().comm();
  if (comm.size() < 2) GTEST_SKIP() << "one rank agrees with itself";
  const std::string text = comm.rank() == 0 ? "a = 1\n" : "a = 1\nb = 2\n";
  EXPECT_THAT(message_of([&] { require_agreement(comm, "configuration", text); }),
              testing::HasSubstr("'b = 2'"));
}

}  // namespace orrery
