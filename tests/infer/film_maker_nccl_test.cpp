// Films made by two GPUs together: by halves of the clip, or a branch of the guidance each.
#include <ATen/ops/equal.h>

#include "infer/small_model.h"
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

}  // namespace orrery
