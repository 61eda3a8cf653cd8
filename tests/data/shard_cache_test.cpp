// Damage to a cache, half-written shards and other settings are refused or passed over by name.
#include "data/shard_cache.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>

#include "base/error.h"
#include "fixtures.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const CacheFacts kFacts = {{"data.frames", "93"}, {"tokenizer.weights", "0123"}};

CacheItem item(const std::string& name, float value) {
  return {name, "about " + name, {{"latents", at::full({2, 3, 4}, value)}}};
}

// One shard of two items.
class ShardCacheTest : public testing::Test {
 protected:
  ShardCacheTest() {
    ShardCache::prepare(folder, kFacts);
    ShardCache::write(folder, 0, {item("a", 1), item("b", 2)});
  }
  std::string refusal(Exit code) {
    try {
      const ShardCache cache(folder);
      for (const auto& [name, entry] : cache.items()) cache.tensor(entry, "latents");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code);
      return error.what();
    }
    return "accepted";
  }
  void flip(const fs::path& file, size_t byte) {
    std::string bytes = test::read_file(file);
    bytes.at(byte) = static_cast<char>(bytes.at(byte) ^ 1);
    test::write_file(file, bytes);
  }
  test::ScratchFolder scratch;
  const fs::path folder = scratch / "cache";
  const fs::path shard = folder / "shard_00000000";
};

TEST_F(ShardCacheTest, what_was_written_comes_back_to_the_bit) {
  const at::Tensor values = at::arange(24).reshape({2, 3, 4}) / 7;
  ShardCache::write(folder, 1, {{"c", "line", {{"latents", values}, {"mask", at::full({2, 2}, 1.f)}}}});
  const ShardCache cache(folder);
  EXPECT_EQ(cache.facts(), kFacts);
  EXPECT_EQ(cache.items().size(), 3u);
  EXPECT_EQ(cache.next_shard(), 2);
  const auto& c = cache.items().at("c");
  EXPECT_EQ(c.about, "line");
  EXPECT_TRUE(at::equal(cache.tensor(c, "latents"), values));
  EXPECT_TRUE(at::equal(cache.rows(c, "latents", 1, 2)[0], values[1]));
  EXPECT_TRUE(at::equal(cache.tensor(cache.items().at("b"), "latents"), at::full({2, 3, 4}, 2.f)));
  EXPECT_THROW(cache.tensor(c, "video"), Error);
}

TEST_F(ShardCacheTest, the_same_items_give_the_same_bytes) {
  const fs::path other = scratch / "other";
  ShardCache::prepare(other, kFacts);
  ShardCache::write(other, 0, {item("a", 1), item("b", 2)});
  for (const char* file : {"items.h5", "manifest.json"})
    EXPECT_EQ(test::read_file(shard / file), test::read_file(other / "shard_00000000" / file)) << file;
}

TEST_F(ShardCacheTest, of_an_item_written_twice_the_later_counts) {
  ShardCache::write(folder, 3, {item("a", 5)});
  const ShardCache cache(folder);
  EXPECT_EQ(cache.items().size(), 2u);
  EXPECT_TRUE(at::equal(cache.tensor(cache.items().at("a"), "latents"), at::full({2, 3, 4}, 5.f)));
}

TEST_F(ShardCacheTest, damage_is_refused_by_name) {
  const std::string items = test::read_file(shard / "items.h5");
  const float one = 1;
  const size_t data = items.find(std::string(reinterpret_cast<const char*>(&one), 4) +
                                 std::string(reinterpret_cast<const char*>(&one), 4));
  ASSERT_NE(data, std::string::npos);
  flip(shard / "items.h5", data + 5);
  EXPECT_THAT(refusal(Exit::bad_data),
              AllOf(HasSubstr("items.h5"), HasSubstr("do not have their digest"),
                    HasSubstr("shard_00000000 is damaged: wanted latents of a;"),
                    HasSubstr("start orrery encode again with --out=" + scratch.path().string())));
  test::write_file(shard / "items.h5", items.substr(0, items.size() - 1));
  EXPECT_THAT(refusal(Exit::bad_data), HasSubstr("its manifest says"));
  test::write_file(shard / "items.h5", items);
  EXPECT_EQ(refusal(Exit::bad_data), "accepted");
  flip(shard / "manifest.json", 100);
  EXPECT_THAT(refusal(Exit::bad_data), AllOf(HasSubstr("shard_00000000"), HasSubstr("digest")));
  flip(shard / "manifest.json", 100);
  flip(folder / "facts.json", test::read_file(folder / "facts.json").find("93"));
  EXPECT_THAT(refusal(Exit::bad_data), AllOf(HasSubstr("facts.json"), HasSubstr("digest")));
}

TEST_F(ShardCacheTest, a_shard_that_was_made_under_other_facts_is_refused_by_name) {
  CacheFacts other = kFacts;
  other["tokenizer.weights"] = "4567";
  const fs::path copy = scratch / "copy";
  ShardCache::prepare(copy, other);
  fs::copy(shard, copy / "shard_00000000", fs::copy_options::recursive);
  try {
    const ShardCache cache(copy);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::bad_data);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("shard_00000000"), HasSubstr("under facts of digest")));
  }
}

TEST_F(ShardCacheTest, shards_whose_facts_are_lost_are_not_taken_for_others) {
  const std::string facts = test::read_file(folder / "facts.json");
  fs::remove(folder / "facts.json");
  try {
    ShardCache::prepare(folder, kFacts);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("shard_00000000"), HasSubstr("no facts.json")));
  }
  EXPECT_FALSE(fs::exists(folder / "facts.json"));
  EXPECT_TRUE(fs::exists(shard));
  test::write_file(folder / "facts.json", facts);
  EXPECT_EQ(refusal(Exit::bad_data), "accepted");
}

TEST_F(ShardCacheTest, facts_that_cannot_be_read_are_refused_in_words_of_ours) {
  for (const char* text : {"", "{\"body\":", "[]", "{\"body\":{\"format\":1,\"facts\":{\"a\":1e999}}}"}) {
    test::write_file(folder / "facts.json", text);
    EXPECT_THAT(refusal(Exit::bad_data),
                AllOf(HasSubstr("facts.json: not the facts of a cache"), Not(HasSubstr("exception"))));
  }
}

TEST_F(ShardCacheTest, a_half_written_shard_is_passed_over_and_its_remains_are_removed) {
  ShardCache::write(folder, 1, {item("c", 3)});
  fs::remove(folder / "shard_00000001" / "manifest.json");  // killed before the last file
  fs::create_directories(folder / "shard_00000002");
  test::write_file(folder / "shard_00000002" / "items.h5.tmp", "half");
  {
    const ShardCache cache(folder);
    EXPECT_EQ(cache.items().size(), 2u);
    EXPECT_EQ(cache.next_shard(), 3);  // another rank's numbers are not taken again
  }
  ShardCache::prepare(folder, kFacts);
  EXPECT_TRUE(fs::exists(shard));
  EXPECT_FALSE(fs::exists(folder / "shard_00000001"));
  EXPECT_FALSE(fs::exists(folder / "shard_00000002"));
}

TEST_F(ShardCacheTest, damaged_shards_are_found_by_the_rank_whose_share_they_are_and_set_aside) {
  ShardCache::write(folder, 1, {item("c", 3)});
  ShardCache::write(folder, 2, {item("d", 4)});
  EXPECT_THAT(ShardCache::find_damage(folder, 0, 1), testing::IsEmpty());
  const std::string items = test::read_file(shard / "items.h5");
  flip(shard / "items.h5", items.size() - 1);
  fs::remove(folder / "shard_00000001" / "items.h5");
  const auto all = ShardCache::find_damage(folder, 0, 1);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].shard, shard);
  EXPECT_THAT(all[0].reason, HasSubstr("digest"));
  EXPECT_THAT(all[1].reason, HasSubstr("missing"));
  const auto odd = ShardCache::find_damage(folder, 1, 2);
  ASSERT_EQ(odd.size(), 1u);
  EXPECT_EQ(odd[0].shard, folder / "shard_00000001");
  for (const auto& damage : all) EXPECT_TRUE(fs::exists(ShardCache::set_aside(damage.shard)));
  EXPECT_FALSE(fs::exists(shard));
  EXPECT_EQ(ShardCache(folder).items().size(), 1u);
}

// Another training may have a cache open: a number that came back would give it other items.
TEST_F(ShardCacheTest, the_number_of_a_shard_that_was_set_aside_is_not_used_again) {
  ShardCache::write(folder, 1, {item("c", 3)});
  ShardCache::set_aside(folder / "shard_00000001");
  EXPECT_EQ(ShardCache(folder).next_shard(), 2);
}

TEST_F(ShardCacheTest, other_facts_are_refused_with_both_values_of_each) {
  CacheFacts other = kFacts;
  other["tokenizer.weights"] = "4567";
  other["data.stride"] = "2";
  const auto message = [&](const auto& call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  const auto names_both =
      AllOf(HasSubstr("tokenizer.weights: the cache has 0123, this run 4567"),
            HasSubstr("data.stride: the cache has nothing, this run 2"), Not(HasSubstr("data.frames")));
  EXPECT_THAT(message([&] { ShardCache::prepare(folder, other); }), names_both);
  EXPECT_THAT(message([&] { ShardCache(folder).require_facts(other); }), names_both);
  EXPECT_EQ(message([&] {
              ShardCache(folder).require_facts(other, {"tokenizer.weights", "data.stride"});
            }),
            "accepted");
  EXPECT_THAT(message([&] { ShardCache(scratch / "nothing"); }), HasSubstr("no cache"));
}

TEST(Compact, stores_as_bfloat16_only_what_that_holds) {
  const at::Tensor halves = at::full({3}, 0.5), thirds = at::full({3}, 1.0 / 3);
  EXPECT_EQ(compact(halves).scalar_type(), at::kBFloat16);
  EXPECT_EQ(compact(thirds).scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(compact(halves).to(at::kFloat), halves));
}

}  // namespace
}  // namespace orrery
