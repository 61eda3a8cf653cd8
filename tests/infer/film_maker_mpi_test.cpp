// Films made by groups of ranks against the films of one rank.
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "infer/branch_parallel.h"
#include "infer/film_batch.h"
#include "infer/film_timing.h"
#include "world.h"

namespace orrery {
namespace {

using test::small_config;
using test::small_input;
using test::small_request;
using test::SmallModel;

const InferenceType kTypes[] = {InferenceType::text2world, InferenceType::image2world,
                                InferenceType::video2world};

at::Tensor alone(const Config& config, const FilmRequest& request, int64_t seed) {
  SmallModel model(config);
  const auto one = single_rank_comm("alone");
  FilmMaker maker = model.maker({one.get(), one.get(), one.get()});
  return maker(request, seed, small_input());
}

// The film of all ranks together, context x branches; undefined but on the first.
at::Tensor together(const Config& config, const FilmRequest& request, int64_t seed, int branches) {
  Comm& world = test_world().comm();
  Mesh mesh(world, std::vector<int>(static_cast<size_t>(world.size()), 0),
            {.replicate = 1, .shard = branches, .context = world.size() / branches});
  const int place = mesh.shard().rank() * mesh.context().size() + mesh.context().rank();
  const auto all = world.split(0, place, "film");
  SmallModel model(config);
  FilmMaker maker = model.maker({&mesh.context(), &mesh.shard(), all.get()});
  return maker(request, seed, small_input());
}

// How many of the film's values differ; none by more than one.
double differing(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor difference = (a.to(at::kInt) - b.to(at::kInt)).abs();
  EXPECT_LE(difference.max().item<int>(), 1);
  return difference.to(at::kDouble).mean().item<double>();
}

TEST(FilmGroups, context_ranks_make_the_film_of_one_rank) {
  for (const InferenceType type : kTypes) {
    const FilmRequest request = small_request(type);
    const at::Tensor exact = together(small_config(Dtype::float64), request, 3, 1);
    const at::Tensor single = together(small_config(Dtype::float32), request, 3, 1);
    if (!exact.defined()) continue;
    EXPECT_TRUE(at::equal(exact, alone(small_config(Dtype::float64), request, 3)));
    EXPECT_LE(differing(single, alone(small_config(Dtype::float32), request, 3)), 1e-3);
  }
}

TEST(FilmGroups, two_branches_make_the_film_of_one_rank_bit_for_bit) {
  Comm& world = test_world().comm();
  const auto pair = world.split(world.rank() / 2, world.rank(), "pair");
  const auto one = single_rank_comm("alone");
  for (const InferenceType type : kTypes) {
    const FilmRequest request = small_request(type);
    SmallModel model(small_config(Dtype::float32));
    FilmMaker maker = model.maker({one.get(), pair.get(), pair.get()});
    const at::Tensor film = maker(request, 3, small_input());
    ASSERT_EQ(film.defined(), pair->rank() == 0);
    if (film.defined()) {
      EXPECT_TRUE(at::equal(film, alone(small_config(Dtype::float32), request, 3)));
    }
  }
}

TEST(FilmGroups, branches_and_context_go_together) {
  const FilmRequest request = small_request(InferenceType::image2world);
  const at::Tensor film = together(small_config(Dtype::float64), request, 8, 2);
  if (film.defined()) {
    EXPECT_TRUE(at::equal(film, alone(small_config(Dtype::float64), request, 8)));
  }
}

TEST(FilmGroups, long_films_go_on_from_the_same_frames_on_every_rank) {
  FilmRequest request = small_request(InferenceType::video2world);
  request.enable_autoregressive = true;
  request.num_output_frames = 30;
  for (const int64_t overlap : {0, 1, 5}) {
    request.chunk_size = 11;
    request.chunk_overlap = overlap;
    const at::Tensor film = together(small_config(Dtype::float64), request, 8, 2);
    if (!film.defined()) continue;
    EXPECT_EQ(film.size(0), 30);
    EXPECT_TRUE(at::equal(film, alone(small_config(Dtype::float64), request, 8)));
  }
}

// A film of the Wan autoencoder with random weights, whose work the group's ranks share, or do not.
at::Tensor wan_film(const FilmRanks& ranks, Comm* sharing) {
  Config config = small_config(Dtype::float32);
  config.tokenizer.kind = TokenizerKind::wan;
  config.tokenizer.channels = 16;
  config.tokenizer.weights = "random";
  config.tokenizer.width = 8;
  config.tokenizer.dtype = Dtype::float32;
  SmallModel model(config);
  const RunTokenizer tokenizer =
      tokenizer_of_weights("/none", config, at::kCPU, sharing ? row_exchange(*sharing) : nullptr);
  FilmMaker maker(config, model.net, *tokenizer.tokenizer, ranks);
  maker.learn({std::string(test::kPrompt), std::string(kDefaultNegativePrompt)}, model.text.get());
  FilmRequest request = small_request(InferenceType::video2world);
  request.enable_autoregressive = true;
  request.num_output_frames = 20;
  request.chunk_size = 13;
  return maker(request, 3, small_input());
}

TEST(FilmGroups, ranks_that_share_the_autoencoder_make_the_film_of_one_rank) {
  Comm& world = test_world().comm();
  const auto one = single_rank_comm("alone");
  const at::Tensor film =
      wan_film({.context = one.get(), .branches = one.get(), .all = &world, .decode_together = true}, &world);
  if (world.rank() == 0) {
    EXPECT_EQ(film.size(0), 20);
    EXPECT_LE(differing(film, wan_film({one.get(), one.get(), one.get()}, nullptr)), 1e-3);
  }
}

// The code that times films of the released sizes on GPUs.
TEST(FilmGroups, every_layout_makes_the_film_of_one_rank_and_tells_its_times) {
  const Config config = test::small_size(Device::cpu, Dtype::float64, Dtype::float32);
  FilmRequest request = small_request(InferenceType::image2world);
  request.num_steps = 4;
  Comm& world = test_world().comm();
  const auto one = single_rank_comm("alone");
  const at::Tensor want = test::timed_film(config, {at::kCPU, one.get(), one.get()}, {}, request).film;
  ASSERT_EQ(want.sizes(), (at::IntArrayRef{13, 32, 32, 3}));
  EXPECT_GT(want.to(at::kDouble).std().item<double>(), 10) << "a flat film proves nothing";
  for (const test::FilmLayout& layout : test::film_layouts(world.size())) {
    const auto [film, parts, seconds] = test::timed_film(config, {at::kCPU, &world, &world}, layout, request);
    EXPECT_GT(parts.denoise_s, 0);
    EXPECT_LE(parts.encode_s + parts.denoise_s + parts.decode_s, seconds);
    ASSERT_EQ(film.defined(), world.rank() == 0);
    if (film.defined()) {
      EXPECT_LE(differing(film, want), 1e-3) << layout.context << " x " << layout.branches;
    }
  }
}

TEST(FilmGroups, more_than_two_ranks_have_no_branches_to_take) {
  Comm& world = test_world().comm();
  if (world.size() > 2) {
    EXPECT_THROW(branches_over(world), Error);
  }
}

}  // namespace
}  // namespace orrery
