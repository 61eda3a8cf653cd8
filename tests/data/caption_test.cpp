#include "data/caption.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "fixtures.h"

namespace orrery {
namespace {

TEST(Caption, is_read_without_surrounding_space) {
  test::ScratchFolder folder;
  test::write_file(folder / "a.txt", " \r\n push the  r\xC3\xB6\xC3\xB6t block\nleft \n\n");
  EXPECT_EQ(read_caption(folder / "a.txt"), "push the  r\xC3\xB6\xC3\xB6t block\nleft");
  test::write_file(folder / "empty.txt", "");
  EXPECT_EQ(read_caption(folder / "empty.txt"), "");
  test::write_file(folder / "space.txt", " \n");
  EXPECT_EQ(read_caption(folder / "space.txt"), "");
}

TEST(Caption, refusals_name_the_file) {
  test::ScratchFolder folder;
  test::write_file(folder / "latin1.txt", "r\xF6t");
  test::write_file(folder / "large.txt", std::string((1 << 20) + 1, 'a'));
  std::filesystem::create_directory(folder / "folder.txt");
  for (const char* name : {"latin1.txt", "large.txt", "missing.txt", "folder.txt"}) {
    try {
      read_caption(folder / name);
      ADD_FAILURE() << name << " was accepted";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
    }
  }
}

TEST(Caption, knows_utf8) {
  for (const char* good : {"", "a", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                           "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF", "a\xE4\xBD\xA0z"})
    EXPECT_TRUE(is_utf8(good)) << good;
  for (const char* bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xC2", "\xC2z", "\xE0\x9F\xBF", "\xE4\xBD",
                          "\xE4\xBDz", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF0\x90\x80", "\xF4\x90\x80\x80",
                          "\xF5\x80\x80\x80", "\xFF", "ok\xFE"})
    EXPECT_FALSE(is_utf8(bad)) << bad;
}

}  // namespace
}  // namespace orrery
