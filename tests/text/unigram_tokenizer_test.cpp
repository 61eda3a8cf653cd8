// SentencePiece as T5 uses it. tests/golden/t5_toy.model has 80 pieces of sentences on cubes.
#include "text/unigram_tokenizer.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "fixtures.h"

namespace orrery {
namespace {

TEST(UnigramTokenizer, ends_every_prompt_with_eos_and_cuts_before_it) {
  const UnigramTokenizer tokenizer(test::golden() / "t5_toy.model");
  const auto ids = tokenizer.encode("push the red cube", 512);
  ASSERT_GT(ids.size(), 4u);
  EXPECT_EQ(ids.back(), 1);
  EXPECT_EQ(tokenizer.encode("", 512), std::vector<int64_t>{1});
  std::vector<int64_t> cut(ids.begin(), ids.begin() + 3);
  cut.back() = 1;
  EXPECT_EQ(tokenizer.encode("push the red cube", 3), cut);
  EXPECT_EQ(tokenizer.encode("push the red cube", std::ssize(ids)), ids);
}

TEST(UnigramTokenizer, normalises_as_the_model_says) {
  const UnigramTokenizer tokenizer(test::golden() / "t5_toy.model");
  const auto ids = tokenizer.encode("push the red cube", 512);
  EXPECT_EQ(tokenizer.encode("  push   the\tred cube ", 512), ids);
  EXPECT_EQ(tokenizer.encode("\uFF50\uFF55\uFF53\uFF48 the red cube", 512), ids);  // full-width letters
}

TEST(UnigramTokenizer, refuses_what_is_no_model_or_no_text) {
  const test::ScratchFolder folder;
  test::write_file(folder / "spiece.model", "not a model");
  EXPECT_THROW(UnigramTokenizer(folder / "spiece.model"), Error);
  test::write_file(folder / "spiece.model", "");
  EXPECT_THROW(UnigramTokenizer(folder / "spiece.model"), Error);
  EXPECT_THROW(UnigramTokenizer(folder / "nowhere"), Error);
  EXPECT_THROW(UnigramTokenizer(folder.path()), Error);
  const UnigramTokenizer tokenizer(test::golden() / "t5_toy.model");
  EXPECT_THROW(tokenizer.encode("\xFF", 8), Error);
  EXPECT_THROW(tokenizer.encode("a", 0), Error);
}

}  // namespace
}  // namespace orrery
