// The text encoder that settings name, and that it must fit the model.
#include "infer/make_text_encoder.h"

#include <ATen/ops/ones.h>
#include <gmock/gmock.h>

#include "base/error.h"
#include "ckpt/safetensors.h"
#include "fixtures.h"
#include "infer/world_model.h"

namespace orrery {
namespace {

using testing::HasSubstr;

std::string refusal(const Config& config) {
  try {
    make_text_encoder(config, at::kCPU);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(MakeTextEncoder, hashed_words_take_the_sizes_of_the_preset) {
  Config config;
  config.model.preset = "nano";
  const auto text = make_text_encoder(config, at::kCPU);
  EXPECT_EQ(text->tokens(), 16);
  EXPECT_EQ(text->channels(), dit_config(config).text_channels());
  EXPECT_EQ(text->identity(), "hash tokens 16 channels 64");
}

TEST(MakeTextEncoder, an_embedding_of_another_width_than_the_model_reads_is_refused) {
  const test::ScratchFolder folder;
  save_safetensors(folder / "t.safetensors", {{"a", at::ones({4, 48})}});
  Config config;
  config.model.preset = "nano";
  config.text.kind = TextKind::table;
  config.text.path = folder / "t.safetensors";
  EXPECT_THAT(refusal(config), HasSubstr("embeddings of 48 channels, the model reads 64"));
  config.text.channels = 48;
  const auto text = make_text_encoder(config, at::kCPU);
  EXPECT_EQ(text->tokens(), 512);
  EXPECT_EQ(text->encode({"a"}).sizes(), (at::IntArrayRef{1, 512, 48}));
}

TEST(MakeTextEncoder, files_that_are_missing_are_named) {
  Config config;
  for (const TextKind kind : {TextKind::reason1, TextKind::t5}) {
    config.text.kind = kind;
    config.text.weights.clear();
    EXPECT_THAT(refusal(config), HasSubstr("text.weights is empty"));
    config.text.weights = "/nowhere/weights";
    EXPECT_THAT(refusal(config), HasSubstr("/nowhere/"));
  }
  config.text.kind = TextKind::table;
  EXPECT_THAT(refusal(config), HasSubstr("text.path is empty"));
}

TEST(MakeTextEncoder, digests_follow_the_files_without_a_network) {
  const test::ScratchFolder folder;
  TextConfig text;
  text.kind = TextKind::reason1;
  text.weights = folder / "w.safetensors";
  text.tokenizer = test::golden() / "tok_toy.json";
  save_safetensors(text.weights, {{"a", at::ones({4, 3})}});
  const auto digests = text_digests(text);
  EXPECT_EQ(text_digests(text), digests);
  EXPECT_EQ(digests.size(), 4u);
  save_safetensors(text.weights, {{"a", at::ones({3, 4})}, {"b", at::ones({1})}});
  EXPECT_NE(text_digests(text).at("text.weights"), digests.at("text.weights"));
  text.tokenizer = test::golden() / "tok_toy.jsonl";
  EXPECT_NE(text_digests(text).at("text.tokenizer"), digests.at("text.tokenizer"));
  EXPECT_TRUE(text_digests({}).empty());
}

}  // namespace
}  // namespace orrery
