// The Wan2.1 autoencoder with the rows of its pictures spread over ranks gives what one rank gives.
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "model/wan_tokenizer.h"
#include "model/wan_vae_net.h"
#include "one_thread.h"
#include "parallel/row_exchange.h"
#include "relative_error.h"
#include "world.h"

namespace orrery {
namespace {

using test::relative_error;

struct WanVaeRows : testing::Test {
  const test::OneThread guard;
  Comm& comm = test_world().comm();
  const std::shared_ptr<const RowExchange> exchange = row_exchange(comm);

  // Rows of this rank, of a picture whose latents have `latent_rows`.
  at::Tensor mine(const at::Tensor& x, const RowShare& share, int64_t factor) const {
    int64_t begin = 0;
    for (int r = 0; r < comm.rank(); ++r) begin += share.heights[r] * factor;
    return x.narrow(3, begin, share.heights[comm.rank()] * factor);
  }
};

// ATen adds up channels and takes exponentials of what is left over from its vectors in another way, and what
// is left over depends on a tensor's size: so bits may differ, as roundings do.
TEST_F(WanVaeRows, latents_and_films_are_those_of_one_rank) {
  for (const auto& [type, tolerance] : {std::pair{at::kDouble, 1e-13}, {at::kFloat, 5e-6}}) {
    const auto net = test::random_vae(type);
    const at::Tensor film = test::film_values({1, 3, 9, 56, 32}, type),
                     latents = test::film_values({1, 16, 3, 7, 4}, type);
    const RowShare share = share_rows(exchange, 7);  // uneven
    FrameCache encoding(share), decoding(share);
    Tensors encoded, decoded;
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 1}, {1, 5}, {5, 9}}) {
      const at::Tensor part = mine(film, share, 8).slice(2, begin, end);
      encoded.push_back(net->encode_part(Variable(part), encoding).value());
    }
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 1}, {1, 3}}) {
      const at::Tensor part = mine(latents, share, 1).slice(2, begin, end);
      decoded.push_back(net->decode_part(Variable(part), decoding).value());
    }
    const at::Tensor z = net->encode(Variable(film), std::nullopt).value(),
                     x = net->decode(Variable(latents), std::nullopt).value();
    EXPECT_LT(relative_error(at::cat(encoded, 2), mine(z, share, 1)), tolerance) << type;
    EXPECT_LT(relative_error(at::cat(decoded, 2), mine(x, share, 8)), tolerance) << type;
  }
}

TEST_F(WanVaeRows, a_tokenizer_gives_every_rank_the_whole) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const WanTokenizer alone(test::random_vae(type), {.encode = 4, .decode = 1}),
        together(test::random_vae(type), {.encode = 4, .decode = 1}, exchange);
    const at::Tensor film = (Rng(6, "bytes").uniform_tensor({2, 3, 5, 40, 32}) * 256).to(at::kByte);
    const at::Tensor latents = alone.encode(film), shared = together.encode(film);
    EXPECT_LT(relative_error(shared, latents), type == at::kFloat ? 5e-6 : 1e-2);
    const at::Tensor pixels = alone.decode(latents), shared_pixels = together.decode(latents);
    ASSERT_EQ(shared_pixels.sizes(), pixels.sizes());
    const at::Tensor off = (shared_pixels.to(at::kInt) - pixels.to(at::kInt)).abs();
    EXPECT_LE(off.max().item<int>(), type == at::kFloat ? 1 : 3);
  }
}

struct SmallFilms : WanVaeRows {
  static at::Tensor film(int64_t rows, uint64_t number = 6) {
    return (Rng(number, "bytes").uniform_tensor({1, 3, 1, rows, 8}) * 256).to(at::kByte);
  }
  const WanTokenizer alone{test::random_vae(at::kFloat, 2), {}},
      together{test::random_vae(at::kFloat, 2), {}, exchange};
};

TEST_F(SmallFilms, of_different_sizes_are_refused) {
  if (comm.size() > 1) EXPECT_THROW(together.encode(film(64 + 8 * comm.rank())), Error);
  EXPECT_EQ(together.encode(film(64)).sizes(), (at::IntArrayRef{1, 16, 1, 8, 1}));
}

TEST_F(SmallFilms, with_fewer_rows_than_ranks_are_whole_on_each) {
  const at::Tensor latents = alone.encode(film(8));
  EXPECT_TRUE(at::equal(together.encode(film(8)), latents));
  EXPECT_TRUE(at::equal(together.decode(latents), alone.decode(latents)));
}

TEST_F(SmallFilms, of_one_rank_are_encoded_without_the_others) {
  const auto number = static_cast<uint64_t>(comm.rank());
  EXPECT_TRUE(at::equal(together.encode_alone(film(64, number)), alone.encode(film(64, number))));
}

}  // namespace
}  // namespace orrery
