// Films of a list: what a failure costs.
#include "infer/film_batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "fixtures.h"
#include "infer/small_model.h"

namespace orrery {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class FilmBatch : public testing::Test {
 protected:
  FilmBatch() {
    std::filesystem::create_directories(folder_ / "results");
    for (const char* name : {"a", "b"}) {
      requests_.push_back(test::small_request(InferenceType::text2world));
      requests_.back().name = name;
      requests_.back().num_steps = 1;
    }
  }
  std::vector<std::string> make(bool keep_going) {
    test::SmallModel model(test::small_config(Dtype::float32));
    const auto one = single_rank_comm("alone");
    FilmMaker maker = model.maker({one.get(), one.get(), one.get()});
    FilmFolder films(folder_.path(), requests_, 1, {});
    const std::vector<FilmTask> tasks = {{0, 1}, {1, 2}};
    return make_films(
        films, requests_, tasks, maker, *one,
        {.keep_going = keep_going, .say = [&](const std::string& line) { said_ += line + "\n"; }});
  }
  bool is_there(const std::string& name) const { return std::filesystem::is_regular_file(folder_ / name); }

  test::ScratchFolder folder_;
  std::vector<FilmRequest> requests_;
  std::string said_;
};

TEST_F(FilmBatch, goes_on_where_the_gallery_cannot_be_written) {
  std::filesystem::create_directories(folder_ / "index.html/taken");
  EXPECT_THAT(make(true), IsEmpty());
  EXPECT_TRUE(is_there("a.mp4") && is_there("b.mp4"));
  EXPECT_THAT(said_, testing::AllOf(HasSubstr("warning: "), HasSubstr("index.html")));
  EXPECT_THROW(make(false), Error);
}

TEST_F(FilmBatch, goes_on_where_neither_a_film_nor_its_failure_can_be_written) {
  std::filesystem::create_directories(folder_ / "a.mp4/taken");
  std::filesystem::create_directories(folder_ / "results/a.json/taken");
  EXPECT_THAT(make(true), ElementsAre(HasSubstr("sample a ")));
  EXPECT_TRUE(is_there("b.mp4"));
  EXPECT_THROW(make(false), Error);
}

}  // namespace
}  // namespace orrery
