#include "text/chat_template.h"

#include <gmock/gmock.h>

#include "fixtures.h"

namespace orrery {
namespace {

TEST(ChatTemplate, is_a_system_and_a_user_turn) {
  EXPECT_EQ(chat_of("S", "lift\nit "),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nlift\nit <|im_end|>\n");
}

TEST(ChatTemplate, ids_are_padded_or_cut_to_length) {
  const BpeTokenizer tokenizer(test::golden() / "tok_toy.json");
  const std::string chat = chat_of("S", "lift");
  const std::vector<int64_t> whole = tokenizer.encode(chat);
  const auto size = std::ssize(whole);
  std::vector<int64_t> padded = whole, cut(whole.begin(), whole.end() - 2);
  padded.insert(padded.end(), 3, 512);
  EXPECT_EQ(chat_ids(tokenizer, chat, size + 3, 512), padded);
  EXPECT_EQ(chat_ids(tokenizer, chat, size, 512), whole);
  EXPECT_EQ(chat_ids(tokenizer, chat, size - 2, 512), cut);
}

}  // namespace
}  // namespace orrery
