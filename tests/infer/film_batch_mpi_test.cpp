// Films of a list made by pairs of ranks: what a failure on one of them costs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fixtures.h"
#include "infer/film_batch.h"
#include "infer/small_model.h"
#include "world.h"

namespace orrery {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class FilmPair : public testing::Test {
 protected:
  FilmPair() : pair_(world().split(world().rank() / 2, world().rank(), "pair")) {
    std::filesystem::create_directories(folder_ / "results");
    for (const char* name : {"a", "b"}) {
      requests_.push_back(test::small_request(InferenceType::text2world));
      requests_.back().name = name;
      requests_.back().num_steps = 1;
    }
  }
  static Comm& world() { return test_world().comm(); }
  bool leads() const { return pair_->rank() == 0; }
  std::vector<std::string> make() {
    test::SmallModel model(test::small_config(Dtype::float32));
    const auto one = single_rank_comm("alone");
    FilmMaker maker = model.maker({one.get(), pair_.get(), pair_.get()});
    FilmFolder films(folder_.path(), requests_, 1, {});
    return make_films(films, requests_, {{0, 1}, {1, 2}}, maker, *pair_, {});
  }
  bool is_there(const std::string& name) const { return std::filesystem::is_regular_file(folder_ / name); }

  test::ScratchFolder folder_;  // each rank's own: the leader writes
  std::unique_ptr<Comm> pair_;
  std::vector<FilmRequest> requests_;
};

TEST_F(FilmPair, goes_on_where_the_leader_cannot_write_a_film) {
  if (leads()) std::filesystem::create_directories(folder_ / "a.mp4/taken");
  const auto failures = make();
  if (!leads()) {
    EXPECT_THAT(failures, IsEmpty());
    return;
  }
  EXPECT_THAT(failures, ElementsAre(HasSubstr("sample a ")));
  EXPECT_TRUE(is_there("b.mp4"));
}

TEST_F(FilmPair, tells_which_rank_could_not_read_an_input_and_why) {
  if (!leads()) {
    requests_[0].type = InferenceType::image2world;
    requests_[0].input_path = folder_ / "gone.png";
  }
  const auto failures = make();
  if (!leads()) {
    EXPECT_THAT(failures, IsEmpty());
    return;
  }
  EXPECT_THAT(failures, ElementsAre(AllOf(HasSubstr("sample a "), HasSubstr("rank 1 of the 2 that make it: "),
                                          HasSubstr("gone.png"))));
  EXPECT_TRUE(is_there("b.mp4"));
}

}  // namespace
}  // namespace orrery
