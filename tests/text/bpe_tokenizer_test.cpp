// Ids against those that the tokenizers library gave (golden lines), and what a tokenizer.json is refused
// for.
#include "text/bpe_tokenizer.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "fixtures.h"
#include "text/golden_ids.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(BpeTokenizer, gives_the_golden_ids_of_the_toy_tokenizer) {
  test::expect_golden_ids(test::golden() / "tok_toy.json", test::golden() / "tok_toy.jsonl");
}

class TokenizerJson : public testing::Test {
 protected:
  TokenizerJson() : file(json::parse(test::read_file(test::golden() / "tok_toy.json"))) {}

  fs::path write(const json& contents) const {
    test::write_file(folder / "tokenizer.json", contents.dump());
    return folder / "tokenizer.json";
  }
  // The toy file with one value replaced.
  std::string refusal(const std::string& pointer, const json& value) const {
    json changed = file;
    changed[json::json_pointer(pointer)] = value;
    return refusal_of(changed.dump());
  }
  std::string refusal_of(const std::string& text) const {
    test::write_file(folder / "tokenizer.json", text);
    try {
      const BpeTokenizer tokenizer(folder / "tokenizer.json");
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("tokenizer.json"));
      return error.what();
    }
    return "accepted";
  }
  const test::ScratchFolder folder;
  const json file;
};

TEST_F(TokenizerJson, merges_as_text_and_as_pairs_are_the_same) {
  json other = file;
  for (json& merge : other["model"]["merges"])
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  test::expect_golden_ids(write(other), test::golden() / "tok_toy.jsonl");
}

TEST_F(TokenizerJson, without_a_normalizer_text_stays_as_it_is) {
  json plain = file;
  plain["normalizer"] = nullptr;
  const BpeTokenizer with(test::golden() / "tok_toy.json"), without(write(plain));
  EXPECT_EQ(with.encode("e\u0301"), with.encode("\u00E9"));
  EXPECT_NE(without.encode("e\u0301"), without.encode("\u00E9"));
}

TEST_F(TokenizerJson, what_would_change_ids_is_refused_by_name) {
  EXPECT_THAT(refusal("/version", "2.0"), HasSubstr("version is '\"2.0\"'"));
  EXPECT_THAT(refusal("/truncation", {{"max_length", 5}}), HasSubstr("truncation"));
  EXPECT_THAT(refusal("/padding", true), HasSubstr("padding"));
  EXPECT_THAT(refusal("/normalizer/type", "NFKC"), HasSubstr("normalizer.type is '\"NFKC\"'"));
  EXPECT_THAT(refusal("/pre_tokenizer/type", "Metaspace"), HasSubstr("pre_tokenizer.type"));
  EXPECT_THAT(refusal("/pre_tokenizer/pretokenizers/0/pattern/Regex", "\\w+"),
              HasSubstr("wanted that of Qwen2"));
  EXPECT_THAT(refusal("/pre_tokenizer/pretokenizers/0/behavior", "Removed"), HasSubstr("behavior"));
  EXPECT_THAT(refusal("/pre_tokenizer/pretokenizers/1/use_regex", true), HasSubstr("use_regex"));
  EXPECT_THAT(refusal("/pre_tokenizer/pretokenizers/1/add_prefix_space", true),
              HasSubstr("add_prefix_space"));
  EXPECT_THAT(refusal("/post_processor/type", "TemplateProcessing"), HasSubstr("post_processor.type"));
  EXPECT_THAT(refusal("/model/type", "Unigram"), HasSubstr("model.type"));
  EXPECT_THAT(refusal("/model/dropout", 0.1), HasSubstr("dropout"));
  EXPECT_THAT(refusal("/model/end_of_word_suffix", "</w>"), HasSubstr("end_of_word_suffix"));
  EXPECT_THAT(refusal("/model/byte_fallback", true), HasSubstr("byte_fallback"));
  EXPECT_THAT(refusal("/model/ignore_merges", true), HasSubstr("ignore_merges"));
  for (const std::string flag : {"single_word", "lstrip", "rstrip", "normalized"})
    EXPECT_THAT(refusal("/added_tokens/0/" + flag, true), HasSubstr(flag));
}

TEST_F(TokenizerJson, damage_is_refused) {
  EXPECT_THAT(refusal_of("{"), HasSubstr("is not JSON"));
  EXPECT_THAT(refusal_of("[]"), HasSubstr("is no JSON object"));
  EXPECT_THAT(refusal_of(R"({"model":1,"model":2})"), HasSubstr("duplicate key 'model'"));
  EXPECT_THAT(refusal_of(std::string(100000, '[')), HasSubstr("nested too deeply"));
  EXPECT_THAT(refusal("/model/vocab", json::array()), HasSubstr("model.vocab"));
  EXPECT_THAT(refusal("/model/vocab/a", 1e300), HasSubstr("the id of token 'a'"));
  EXPECT_THAT(refusal("/model/vocab/a", -1), HasSubstr("the id of token 'a'"));
  EXPECT_THAT(refusal("/model/vocab/a", uint64_t{1} << 40), HasSubstr("the id of token 'a'"));
  EXPECT_THAT(refusal("/model/vocab/a", 0), HasSubstr("has the id of another token"));
  EXPECT_THAT(refusal("/model/vocab", {{"a", 1}}), HasSubstr("no token for byte 0"));
  EXPECT_THAT(refusal("/model/merges/0", "abc"), HasSubstr("merge 0 is"));
  EXPECT_THAT(refusal("/model/merges/0", "a b c"), HasSubstr("merge 0 is"));
  EXPECT_THAT(refusal("/model/merges/0", json{"a", 1}), HasSubstr("merge 0 is"));
  EXPECT_THAT(refusal("/model/merges/0", json{"a", "nowhere"}),
              HasSubstr("'nowhere', which model.vocab lacks"));
  EXPECT_THAT(refusal("/model/merges/1", file["model"]["merges"][0]), HasSubstr("there twice"));
  EXPECT_THAT(refusal("/added_tokens/0", 5), HasSubstr("no object"));
  EXPECT_THAT(refusal("/added_tokens/0/content", ""), HasSubstr("content"));
  EXPECT_THAT(refusal("/added_tokens/0/id", 5), HasSubstr("belongs to another token"));
  EXPECT_THAT(refusal("/added_tokens/1/content", "<|endoftext|>"), HasSubstr("there twice"));
  EXPECT_THROW(BpeTokenizer(folder / "nowhere.json"), Error);
  EXPECT_THROW(BpeTokenizer(folder.path()), Error);
}

TEST_F(TokenizerJson, added_tokens_are_found_by_content) {
  const BpeTokenizer tokenizer(test::golden() / "tok_toy.json");
  EXPECT_EQ(tokenizer.added_id("<|im_start|>"), 513);
  EXPECT_THROW(tokenizer.added_id("<|im"), Error);
  EXPECT_THAT(tokenizer.encode("<a><b><a>"), ElementsAre(516, 515));  // the longest first
}

TEST_F(TokenizerJson, text_that_is_not_utf8_is_refused) {
  const BpeTokenizer tokenizer(test::golden() / "tok_toy.json");
  for (const std::string text : {"\xFF", "a\xC3", "\xED\xA0\x80", "\xC0\x80", "\xF4\x90\x80\x80"})
    EXPECT_THROW(tokenizer.encode(text), Error);
}

TEST_F(TokenizerJson, several_threads_may_share_a_tokenizer) {
  const BpeTokenizer tokenizer(test::golden() / "tok_toy.json");
  const std::string text = "one two <a> three four";
  const auto wanted = tokenizer.encode(text);
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      for (int k = 0; k < 200; ++k) {
        tokenizer.encode("word" + std::to_string(1000 * i + k));
        EXPECT_EQ(tokenizer.encode(text), wanted);
      }
    });
}

}  // namespace
}  // namespace orrery
