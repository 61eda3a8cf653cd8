// The page beside generated films, and the folder that it is made from.
#include "infer/gallery.h"

#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fixtures.h"
#include "infer/film_folder.h"

namespace orrery {
namespace {

using testing::HasSubstr;
using testing::Not;

Gallery two_films() {
  Gallery g{.title = "films"};
  g.facts = {{"weights", "run"}};
  g.samples.push_back(
      {.name = "a<b", .prompt = "x & \"y\" <script>", .negative_prompt = "ugly", .given_jpeg = "Man"});
  g.samples[0].films = {{GalleryFilm::State::done, "a b%.mp4", 3, 12.34, "", "Ma"},
                        {GalleryFilm::State::waiting, "c.mp4", 4, 0, ""}};
  return g;
}

TEST(Gallery, shows_prompt_given_frame_films_seeds_and_times) {
  const std::string html = html_of(two_films());
  EXPECT_THAT(html, HasSubstr("x &amp; &quot;y&quot; &lt;script&gt;"));
  EXPECT_THAT(html, HasSubstr("<h2>a&lt;b</h2>"));
  EXPECT_THAT(html, HasSubstr("data:image/jpeg;base64,TWFu\""));
  EXPECT_THAT(html, HasSubstr("poster=\"data:image/jpeg;base64,TWE=\""));
  EXPECT_THAT(html, HasSubstr("src=\"a%20b%25.mp4\""));
  EXPECT_THAT(html, HasSubstr("seed 3, 12.3 s"));
  EXPECT_THAT(html, HasSubstr("seed 4"));
  EXPECT_THAT(html, HasSubstr("1 of 2 films"));
  EXPECT_THAT(html, Not(HasSubstr("<script>")));
}

TEST(Gallery, needs_nothing_from_elsewhere) {
  const std::string html = html_of(two_films());
  EXPECT_THAT(html, Not(HasSubstr("http:")));
  EXPECT_THAT(html, Not(HasSubstr("https:")));
  EXPECT_THAT(html, Not(HasSubstr("//")));
}

TEST(Gallery, loads_itself_again_while_films_are_waiting) {
  Gallery g = two_films();
  EXPECT_THAT(html_of(g), HasSubstr("http-equiv=refresh"));
  g.samples[0].films[1] = {GalleryFilm::State::failed, "c.mp4", 4, 0, "out of <memory>"};
  EXPECT_THAT(html_of(g), Not(HasSubstr("http-equiv=refresh")));
  EXPECT_THAT(html_of(g), HasSubstr("out of &lt;memory&gt;"));
  EXPECT_THAT(html_of(g), HasSubstr("1 failed"));
}

class FilmFolderTest : public testing::Test {
 protected:
  FilmFolderTest() {
    FilmRequest r;
    r.name = "push";
    r.prompt = "left";
    requests_ = {r};
  }
  FilmFolder open() { return {folder_.path() / "out", requests_, 2, {.fps = 8}}; }
  std::string page() { return test::read_file(folder_ / "out/index.html"); }

  test::ScratchFolder folder_;
  std::vector<FilmRequest> requests_;
  const at::Tensor film_ = at::full({5, 16, 16, 3}, 90, at::kByte);
};

TEST_F(FilmFolderTest, knows_what_is_finished_and_made_from_the_same) {
  FilmFolder folder = open();
  folder.prepare();
  const FilmItem item = folder.items()[1];
  EXPECT_EQ(item.stem, "push_seed1");
  EXPECT_FALSE(folder.is_finished(item, 7));
  folder.done(item, film_, 1.5, 7);
  EXPECT_TRUE(open().is_finished(item, 7));
  EXPECT_FALSE(folder.is_finished(item, 8)) << "made from something else";
  EXPECT_FALSE(folder.is_finished(folder.items()[0], 7));
  std::filesystem::resize_file(folder.film_path(item), 100);
  EXPECT_FALSE(folder.is_finished(item, 7)) << "a film that was cut short";
  folder.done(item, film_, 1.5, 7);
  test::write_file(folder_ / "out/results/push_seed1.json", "{\"status\": \"done\", \"seco");
  EXPECT_FALSE(folder.is_finished(item, 7)) << "a result that was cut short";
  folder.failed(item, "out of memory", 2);
  EXPECT_FALSE(folder.is_finished(item, 7));
  folder.done(item, film_, 1.5, 7);
  folder.forget(item);
  EXPECT_FALSE(folder.is_finished(item, 7));
}

TEST_F(FilmFolderTest, gallery_follows_the_films) {
  FilmFolder folder = open();
  folder.prepare();
  folder.keep_given(requests_[0], {});
  folder.refresh_gallery(true);
  EXPECT_THAT(page(), HasSubstr("0 of 2 films"));
  folder.done(folder.items()[0], film_, 1.5, 7);
  FilmFolder of_another_rank = open();
  of_another_rank.failed(folder.items()[1], "no memory", 2);
  folder.refresh_gallery(false);
  EXPECT_THAT(page(), HasSubstr("0 of 2 films")) << "not twice in two seconds";
  folder.refresh_gallery(true);
  EXPECT_THAT(page(),
              testing::AllOf(HasSubstr("1 of 2 films"), HasSubstr("push_seed0.mp4"), HasSubstr("no memory")));
}

TEST_F(FilmFolderTest, arguments_with_all_defaults_lie_beside_the_films) {
  open().prepare();
  const auto list = read_requests({folder_ / "out/push.json"}, {}, {});
  ASSERT_EQ(list.requests.size(), 1u);
  EXPECT_EQ(json_of(list.requests[0]), json_of(requests_[0]));
}

TEST_F(FilmFolderTest, what_a_film_is_made_from_is_everything_that_decides_it) {
  test::write_file(folder_ / "in.png", "one");
  FilmRequest r = requests_[0];
  r.type = InferenceType::image2world;
  r.input_path = folder_ / "in.png";
  const uint64_t key = film_key(r, 1, 2, "s");
  EXPECT_EQ(film_key(r, 1, 2, "s"), key);
  EXPECT_NE(film_key(r, 2, 2, "s"), key);
  EXPECT_NE(film_key(r, 1, 3, "s"), key);
  EXPECT_NE(film_key(r, 1, 2, "t"), key);
  FilmRequest other = r;
  other.prompt = "right";
  EXPECT_NE(film_key(other, 1, 2, "s"), key);
  test::write_file(folder_ / "copy.png", "one");
  other = r;
  other.input_path = folder_ / "copy.png";
  EXPECT_EQ(film_key(other, 1, 2, "s"), key) << "the same picture elsewhere";
  test::write_file(folder_ / "in.png", "two");
  EXPECT_NE(film_key(r, 1, 2, "s"), key);
}

TEST_F(FilmFolderTest, digest_of_weights_is_that_of_the_file_or_of_the_folder) {
  std::filesystem::create_directories(folder_ / "w/part");
  test::write_file(folder_ / "w/part/a", "1");
  test::write_file(folder_ / "b", "1");
  const uint64_t whole = weights_digest(folder_ / "w");
  EXPECT_NE(weights_digest(folder_ / "b"), whole);
  test::write_file(folder_ / "w/part/a", "2");
  EXPECT_NE(weights_digest(folder_ / "w"), whole);
  test::write_file(folder_ / "w/manifest.json", "{}");
  EXPECT_EQ(weights_digest(folder_ / "w"), [&] {
    test::write_file(folder_ / "w/part/a", "3");
    return weights_digest(folder_ / "w");
  }()) << "a manifest has the digests of the rest";
}

}  // namespace
}  // namespace orrery
