// Sharded safetensors with an index: what fits is read, every disagreement is refused.
#include "ckpt/hf_index.h"

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>

#include "base/error.h"
#include "ckpt/safetensors.h"
#include "fixtures.h"

namespace orrery {
namespace {

using testing::HasSubstr;

class HfIndexTest : public testing::Test {
 protected:
  HfIndexTest() {
    save_safetensors(folder / "model-1.safetensors", {{"a", at::ones({3, 2})}});
    save_safetensors(folder / "model-2.safetensors", {{"b", at::full({4}, 2.0)}, {"c", at::full({}, 3.0)}});
  }
  std::string refusal(const std::string& index) {
    test::write_file(folder / "model.safetensors.index.json", index);
    try {
      open_weights(folder.path());
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("index.json"));
      return error.what();
    }
    return "accepted";
  }
  static std::string map_of(const std::string& items) {
    return R"({"metadata":{},"weight_map":{)" + items + "}}";
  }
  const test::ScratchFolder folder;
  const std::string good = R"("a":"model-1.safetensors","b":"model-2.safetensors","c":"model-2.safetensors")";
};

TEST_F(HfIndexTest, a_folder_and_its_index_give_the_tensors_of_all_shards) {
  EXPECT_EQ(refusal(map_of(good)), "accepted");
  for (const auto& path : {folder.path(), folder / "model.safetensors.index.json"}) {
    const auto file = open_weights(path);
    EXPECT_EQ(file->entries().size(), 3u);
    EXPECT_EQ(file->rows("b", {1, 3}).sum().item<float>(), 4);
    EXPECT_EQ(file->tensor("c").item<float>(), 3);
    EXPECT_EQ(file->entry("a").shape, (std::vector<int64_t>{3, 2}));
  }
}

TEST_F(HfIndexTest, maps_that_disagree_with_the_shards_are_refused) {
  EXPECT_THAT(refusal(map_of(R"("a":"model-1.safetensors")")), "accepted");
  EXPECT_THAT(refusal(map_of(R"("a":"model-1.safetensors","b":"model-2.safetensors")")),
              HasSubstr("holds tensor 'c', which weight_map does not place there"));
  EXPECT_THAT(refusal(map_of(good + R"(,"d":"model-1.safetensors")")), HasSubstr("lacks tensor 'd'"));
  EXPECT_THAT(refusal(map_of(good + R"(,"d":"model-3.safetensors")")), HasSubstr("cannot open"));
  EXPECT_THAT(refusal(map_of(good + R"(,"a":"model-2.safetensors")")), HasSubstr("duplicate key 'a'"));
}

TEST_F(HfIndexTest, paths_out_of_the_folder_are_refused) {
  for (const std::string name :
       {"../model-1.safetensors", "/etc/passwd", "", "..", ".hidden", R"(a\\b)", R"(a\u0000)"})
    EXPECT_THAT(refusal(map_of(R"("a":")" + name + "\"")), HasSubstr("is not a file of the index's folder"))
        << name;
}

TEST_F(HfIndexTest, what_is_no_index_is_refused) {
  EXPECT_THAT(refusal(""), HasSubstr("is not JSON"));
  EXPECT_THAT(refusal("[]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(refusal("{}"), HasSubstr("no object weight_map"));
  EXPECT_THAT(refusal(R"({"weight_map":[]})"), HasSubstr("no object weight_map"));
  EXPECT_THAT(refusal(R"({"weight_map":{"a":1}})"), HasSubstr("is no file name"));
  EXPECT_THAT(refusal(R"({"x":)" + std::string(100'000, '[')), HasSubstr("nested too deeply"));
}

TEST_F(HfIndexTest, two_indexes_in_a_folder_must_be_told_apart_by_the_caller) {
  test::write_file(folder / "other.safetensors.index.json", map_of(good));
  test::write_file(folder / "model.safetensors.index.json", map_of(good));
  EXPECT_THROW(open_weights(folder.path()), Error);
  EXPECT_TRUE(open_weights(folder / "other.safetensors.index.json")->contains("a"));
}

}  // namespace
}  // namespace orrery
