// Films made by GPUs together, by parts of the clip or a branch of the guidance each, and how long a film of
// the released size takes one GPU or several.
#include <ATen/ops/equal.h>

#include <cstdio>

#include "infer/film_timing.h"
#include "parallel/nccl_fixture.h"

namespace orrery {

class FilmsNccl : public NcclTest {
 protected:
  static Config config() {
    Config c = test::small_config(Dtype::float32);
    c.numerics.device = Device::cuda;
    return c;
  }
  // Undefined but on the first rank.
  static at::Tensor film(const FilmRanks& ranks) {
    test::SmallModel model(config(), device());
    FilmMaker maker = model.maker(ranks);
    return maker(test::small_request(InferenceType::image2world), 3, test::small_input());
  }
  static at::Tensor alone() {
    const auto host = single_rank_comm("alone"), card = single_rank_comm("alone", c10::kCUDA);
    return film({card.get(), card.get(), host.get()});
  }
};

TEST_F(FilmsNccl, branches_on_two_gpus_give_the_bits_of_one) {
  if (size() != 2) GTEST_SKIP() << "a pair is wanted";
  const auto one = single_rank_comm("alone", c10::kCUDA);
  const at::Tensor together = film({one.get(), &nccl(), &mpi()}), want = alone();
  ASSERT_EQ(together.defined(), rank() == 0);
  if (rank() == 0) {
    EXPECT_TRUE(at::equal(together, want));
  }
}

TEST_F(FilmsNccl, context_ranks_give_the_film_of_one) {
  const auto one = single_rank_comm("alone", c10::kCUDA);
  const at::Tensor together = film({&nccl(), one.get(), &mpi()}), want = alone();
  if (rank() != 0) return;
  const at::Tensor difference = (together.to(at::kDouble) - want.to(at::kDouble)).abs();
  EXPECT_LE(difference.max().item().toDouble(), 2);
  EXPECT_LE(difference.mean().item().toDouble(), 0.01);
}

// One GPU too: the program may run without mpirun.
class FilmTimesNccl : public testing::Test {
 protected:
  void SetUp() override {
    World& world = test_world();
    const auto gpus = static_cast<int>(at::getNumGPUs());
    if (gpus < world.local_size())
      GTEST_SKIP() << "fewer GPUs than ranks: " << gpus << " for " << world.local_size();
    device_ = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(world.local_rank()));
    c10::cuda::set_device(device_.index());
    world.set_timeout(600);
    nccl_ = nccl_comm(world, world.comm(), device_);
  }
  test::FilmParty all() { return {device_, &test_world().comm(), nccl_.get()}; }
  static std::vector<test::FilmLayout> layouts() { return test::film_layouts(test_world().size()); }
  static FilmRequest request(int64_t steps) {
    FilmRequest r = test::small_request(InferenceType::image2world);
    r.num_steps = steps;
    return r;
  }
  static bool is_first() { return test_world().is_first(); }
  void tell_time_of_released_size(const test::FilmLayout& layout);

  at::Device device_ = at::kCUDA;
  std::unique_ptr<Comm> nccl_;
};

TEST_F(FilmTimesNccl, are_of_the_film_of_one_gpu) {
  const Config exact = test::small_size(Device::cuda, Dtype::float32, Dtype::float32);
  const auto host = single_rank_comm("alone"), card = single_rank_comm("alone", c10::kCUDA);
  const at::Tensor want = test::timed_film(exact, {device_, host.get(), card.get()}, {}, request(4)).film;
  EXPECT_GT(want.to(at::kDouble).std().item().toDouble(), 10) << "a flat film proves nothing";
  for (const test::FilmLayout& layout : layouts()) {
    const at::Tensor film = test::timed_film(exact, all(), layout, request(4)).film;
    ASSERT_EQ(film.defined(), is_first());
    if (!is_first()) continue;
    const at::Tensor difference = (film.to(at::kDouble) - want.to(at::kDouble)).abs();
    EXPECT_LE(difference.max().item().toDouble(), 2) << layout.context << " x " << layout.branches;
    EXPECT_LE(difference.mean().item().toDouble(), 0.01) << layout.context << " x " << layout.branches;
  }
}

TEST_F(FilmTimesNccl, are_told_in_bfloat16_as_at_the_released_size) {
  const Config config = test::small_size(Device::cuda, Dtype::bfloat16, Dtype::bfloat16);
  for (const test::FilmLayout& layout : layouts()) {
    const auto [film, parts, seconds] = test::timed_film(config, all(), layout, request(4));
    EXPECT_GT(parts.denoise_s, 0);
    EXPECT_LE(parts.encode_s + parts.denoise_s + parts.decode_s, seconds);
    if (is_first()) {
      EXPECT_GT(film.to(at::kDouble).std().item().toDouble(), 10);
    }
  }
}

void FilmTimesNccl::tell_time_of_released_size(const test::FilmLayout& layout) {
  const auto [film, parts, seconds] = test::timed_film(test::released_size(), all(), layout, request(35));
  if (!is_first()) return;
  EXPECT_EQ(film.sizes(), (at::IntArrayRef{93, 704, 1280, 3}));
  EXPECT_GT(film.slice(0, 0, 93, 46).to(at::kDouble).std().item().toDouble(), 1);
  std::printf(
      "speed: a film of 93 x 704 x 1280, 35 steps with guidance, on %d GPUs "
      "(context %d x branches %d, heads in %lld groups): %.1f s in all (denoising %.1f s, encode %.2f s, "
      "decode %.2f s)\n",
      test_world().size(), layout.context, layout.branches, static_cast<long long>(layout.head_groups),
      seconds, parts.denoise_s, parts.encode_s, parts.decode_s);
  std::fflush(stdout);
}

TEST_F(FilmTimesNccl, Speed_of_a_film_of_the_released_size) {
  tell_time_of_released_size(layouts()[0]);
}

TEST_F(FilmTimesNccl, Speed_of_a_film_of_the_released_size_with_heads_in_groups) {
  if (test_world().size() == 1) GTEST_SKIP() << "one rank";
  tell_time_of_released_size({.context = test_world().size(), .head_groups = 2});
}

TEST_F(FilmTimesNccl, Speed_of_a_film_of_the_released_size_with_branches) {
  if (layouts().size() == 1) GTEST_SKIP() << "an odd number of ranks";
  tell_time_of_released_size(layouts()[1]);
}

}  // namespace orrery
