// The whole vocabulary of Qwen2.5, which takes a second to read.
#include "fixtures.h"
#include "text/golden_ids.h"

namespace orrery {
namespace {

TEST(QwenTokenizer, gives_the_golden_ids) {
  const auto tokenizer = test::shared_parity() / "../data/qwen2.5/tokenizer.json";
  if (!std::filesystem::exists(tokenizer)) GTEST_SKIP() << "../shared/data/qwen2.5/tokenizer.json is absent";
  test::expect_golden_ids(tokenizer, test::shared_parity() / "tok_qwen25.jsonl");
}

}  // namespace
}  // namespace orrery
