#include "parallel/agreement.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "world.h"

namespace orrery {
namespace {

std::vector<at::Tensor> tensors_of(int rank) {
  const auto draw = [&](uint64_t number, at::IntArrayRef shape) {
    return Rng(2, "tensors", {static_cast<uint64_t>(rank), number}).normal_tensor(shape);
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

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST(Agreement, broadcast_overwrites_tensors_of_any_stride) {
  Comm& comm = test_world().comm();
  const int root = comm.size() - 1;
  const auto tensors = tensors_of(comm.rank()), wanted = tensors_of(root);
  broadcast_tensors(comm, tensors, root, "weights");
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_TRUE(at::equal(tensors[i], wanted[i])) << i;
}

TEST(Agreement, passes_where_texts_are_the_same) {
  require_agreement(test_world().comm(), "configuration", "train.lr = 1\ntrain.steps = 3\n");
  require_agreement(test_world().comm(), "configuration", "");
}

TEST(Agreement, a_text_of_the_first_rank_is_made_once) {
  Comm& comm = test_world().comm();
  int64_t made = 0;
  const auto make = [&] {
    ++made;
    return text_of("of rank ", comm.rank(), "\n+");
  };
  EXPECT_EQ(text_of_first(comm, "text", make), "of rank 0\n+");
  EXPECT_EQ(made, comm.rank() == 0 ? 1 : 0);
  EXPECT_EQ(text_of_first(comm, "nothing", [] { return std::string(); }), "");
}

TEST(Agreement, an_error_of_the_first_rank_is_every_ranks) {
  Comm& comm = test_world().comm();
  for (const Exit code : {Exit::bad_input, Exit::bad_data}) try {
      text_of_first(comm, "text", [&]() -> std::string { throw Error("the file is bad", code); });
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_STREQ(error.what(), "the file is bad");
      EXPECT_EQ(error.code(), code);
    }
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
