#include "infer/text_cache.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>

#include <cmath>

#include "base/error.h"
#include "fixtures.h"
#include "model/hash_text.h"

namespace orrery {
namespace {

const std::vector<std::string> kPrompts = {"", "lift the block", "push the block", "näh"};

// A folder with the first three prompts' embeddings.
class TextCacheTest : public testing::Test {
 protected:
  TextCacheTest() {
    ShardCache::prepare(folder, {});
    for (int64_t rank = 0; rank < 2; ++rank)
      encode_prompts(encoder, {.prompts = {kPrompts.begin(), kPrompts.begin() + 3},
                               .folder = folder,
                               .per_shard = 1,
                               .rank = rank,
                               .ranks = 2});
  }
  CachedText text(int64_t tokens = 4) {
    return {std::make_shared<const ShardCache>(folder), tokens, 6, [this] {
              ++made;
              return std::make_unique<HashText>(4, 6);
            }};
  }
  test::ScratchFolder scratch;
  const std::filesystem::path folder = scratch / "text";
  const HashText encoder{4, 6};
  int64_t made = 0;
};

TEST_F(TextCacheTest, embeddings_are_the_encoders_and_it_is_made_when_it_is_needed) {
  const CachedText cached = text();
  const std::vector<std::string> stored(kPrompts.begin(), kPrompts.begin() + 3);
  EXPECT_TRUE(at::equal(cached.encode(stored), encoder.encode(stored)));
  EXPECT_EQ(made, 0);
  EXPECT_TRUE(at::equal(cached.encode(kPrompts), encoder.encode(kPrompts)));
  EXPECT_TRUE(at::equal(cached.encode(kPrompts), encoder.encode(kPrompts)));
  EXPECT_EQ(made, 1);
}

TEST_F(TextCacheTest, what_it_holds_needs_no_encoder_and_keeps_its_type) {
  CachedText cached = text();
  EXPECT_TRUE(cached.holds({kPrompts[0], kPrompts[2], kPrompts[0]}));
  EXPECT_FALSE(cached.holds(kPrompts));
  struct Rounded final : TextEncoder {
    at::Tensor encode(const std::vector<std::string>& prompts) const override {
      return HashText(4, 6).encode(prompts).to(at::kBFloat16);
    }
    int64_t tokens() const override { return 4; }
    int64_t channels() const override { return 6; }
    std::string identity() const override { return "rounded"; }
  };
  encode_prompts(Rounded(), {.prompts = {"one", "two"},
                             .folder = folder,
                             .first_shard = ShardCache(folder).next_shard(),
                             .per_shard = 2});
  const CachedText more = text();
  EXPECT_TRUE(more.holds({"one", "two"}));
  for (const std::vector<std::string>& prompts : {std::vector<std::string>{"one"}, {"one", "two"}})
    EXPECT_TRUE(at::equal(more.encode(prompts), Rounded().encode(prompts))) << prompts.size();
  const at::Tensor mixed = more.encode({"one", kPrompts[1]});
  EXPECT_EQ(mixed.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(mixed[0], Rounded().encode({"one"})[0].to(at::kFloat)));
  EXPECT_TRUE(at::equal(mixed[1], encoder.encode({kPrompts[1]})[0]));
  EXPECT_EQ(made, 0);
}

TEST_F(TextCacheTest, embeddings_of_another_shape_are_refused) {
  EXPECT_THROW(text(5).encode({kPrompts[0]}), Error);
}

TEST_F(TextCacheTest, embeddings_that_are_not_finite_are_not_stored) {
  struct Broken final : TextEncoder {
    at::Tensor encode(const std::vector<std::string>& prompts) const override {
      return at::full({std::ssize(prompts), 4, 6}, std::nan(""));
    }
    int64_t tokens() const override { return 4; }
    int64_t channels() const override { return 6; }
    std::string identity() const override { return "broken"; }
  };
  ShardCache::prepare(scratch / "broken", {});
  try {
    encode_prompts(Broken(), {.prompts = {"push"}, .folder = scratch / "broken", .per_shard = 1});
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                testing::AllOf(testing::HasSubstr("'push'"), testing::HasSubstr("text.weights")));
  }
  EXPECT_TRUE(ShardCache(scratch / "broken").items().empty());
}

TEST_F(TextCacheTest, a_prompt_of_the_same_digest_is_not_taken_for_another) {
  const ShardCache cache(folder);
  const auto& [name, entry] = *cache.items().begin();
  ShardCache::write(folder, cache.next_shard(),
                    {{name, "another prompt", {{"embedding", cache.tensor(entry, "embedding")}}}});
  EXPECT_TRUE(at::equal(text().encode({entry.about}), encoder.encode({entry.about})));
  EXPECT_EQ(made, 1);
}

}  // namespace
}  // namespace orrery
