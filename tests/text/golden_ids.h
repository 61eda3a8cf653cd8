#pragma once
// Token ids against those that the tokenizers library gave: tok_NAME.jsonl, lines {"text", "ids"}.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "text/bpe_tokenizer.h"

namespace orrery::test {

inline void expect_golden_ids(const std::filesystem::path& tokenizer_json,
                              const std::filesystem::path& lines) {
  const BpeTokenizer tokenizer(tokenizer_json);
  std::ifstream in(lines);
  int64_t count = 0;
  for (int pass = 0; pass < 2; ++pass) {  // the second finds its words in the cache
    in.clear();
    in.seekg(0);
    for (std::string line; std::getline(in, line); ++count) {
      const auto wanted = nlohmann::json::parse(line);
      EXPECT_EQ(nlohmann::json(tokenizer.encode(wanted.at("text").get<std::string>())), wanted.at("ids"))
          << line;
    }
  }
  EXPECT_GT(count, 200);
}

}  // namespace orrery::test
