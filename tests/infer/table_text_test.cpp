// Embeddings of files: the layouts of Cosmos-Policy and of Cosmos-Predict2's data sets.
#include "infer/table_text.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>

#include "base/error.h"
#include "ckpt/safetensors.h"
#include "fixtures.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

std::string refusal(const fs::path& path, const std::vector<std::string>& prompts = {}) {
  try {
    TableText(path, 8).encode(prompts);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

// A data set of cosmos-predict2 with the pickles that Python wrote.
void make_dataset(const fs::path& folder) {
  fs::create_directories(folder / "metas");
  fs::create_directories(folder / "t5_xxl");
  for (const auto& [stem, pickle] : {std::pair{"a", "pt_t5_list.pickle"}, {"b", "pt_t5_list_p5.pickle"}}) {
    test::write_file(folder / "metas" / (std::string(stem) + ".txt"), std::string("prompt ") + stem + "\n");
    fs::copy_file(test::golden() / pickle, folder / "t5_xxl" / (std::string(stem) + ".pickle"));
  }
}

TEST(TableText, reads_a_pickled_dict_of_torch_tensors) {
  const fs::path file = test::golden() / "pt_t5_dict.pkl";
  const Safetensors twin(test::golden() / "pt_t5_dict.safetensors");
  for (const auto& [prompt, entry] : twin.entries()) {
    if (entry.shape.size() != 3 && entry.shape.size() != 2) continue;
    const at::Tensor wanted = twin.tensor(prompt).reshape({-1, entry.shape.back()});
    const TableText table(file, wanted.size(0) + 2);
    const at::Tensor embedding = table.encode({prompt, prompt});
    EXPECT_EQ(embedding.sizes(), (at::IntArrayRef{2, wanted.size(0) + 2, table.channels()}));
    EXPECT_TRUE(at::equal(embedding[1].slice(0, 0, wanted.size(0)), wanted.to(embedding.scalar_type())));
    EXPECT_EQ(embedding[0].slice(0, wanted.size(0)).abs().sum().item<double>(), 0);
  }
}

TEST(TableText, reads_a_data_set_with_a_pickle_beside_each_prompt) {
  const test::ScratchFolder folder;
  make_dataset(folder.path());
  const TableText table(folder.path(), 16);
  const at::Tensor wanted = Safetensors(test::golden() / "pt_t5_list.safetensors").tensor("0").to(at::kFloat);
  const at::Tensor embedding = table.encode({"prompt b", "prompt a"});
  EXPECT_EQ(embedding.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(embedding[1].slice(0, 0, wanted.size(0)), wanted));
  EXPECT_EQ(embedding[1].slice(0, wanted.size(0)).abs().sum().item<double>(), 0);
}

TEST(TableText, keeps_bfloat16_and_cuts_what_is_too_long) {
  const test::ScratchFolder folder;
  save_safetensors(folder / "t.safetensors",
                   {{"a", at::full({1, 9, 3}, 2.0, at::kBFloat16)}, {"", at::ones({2, 3}, at::kBFloat16)}});
  const at::Tensor embedding = TableText(folder / "t.safetensors", 4).encode({"", "a"});
  EXPECT_EQ(embedding.scalar_type(), at::kBFloat16);
  EXPECT_EQ(embedding.sum().item<double>(), 2 * 3 + 4 * 3 * 2);
}

TEST(TableText, a_prompt_that_is_missing_is_named) {
  const test::ScratchFolder folder;
  make_dataset(folder.path());
  EXPECT_THAT(refusal(folder.path(), {"prompt c"}),
              AllOf(HasSubstr(folder.path().string()), HasSubstr("no embedding of the prompt 'prompt c'")));
}

TEST(TableText, tables_that_do_not_fit_are_refused) {
  const test::ScratchFolder folder;
  const fs::path file = folder / "t.safetensors";
  EXPECT_NE(refusal(file), "accepted");
  save_safetensors(file, {});
  EXPECT_THAT(refusal(file), HasSubstr("holds no embeddings"));
  save_safetensors(file, {{"a", at::ones({4, 3})}, {"b", at::ones({4, 2})}});
  EXPECT_THAT(refusal(file), HasSubstr("'b': 2 channels, the others have 3"));
  save_safetensors(file, {{"a", at::ones({4, 3}, at::kLong)}});
  EXPECT_THAT(refusal(file), HasSubstr("wanted floating-point numbers"));
  save_safetensors(file, {{"a", at::ones({2, 4, 3})}});
  EXPECT_THAT(refusal(file), HasSubstr("wanted floating-point numbers [L,C]"));
  save_safetensors(file, {{"a", at::ones({0, 3})}});
  EXPECT_THAT(refusal(file), HasSubstr("0 tokens"));
  make_dataset(folder.path());
  fs::remove(folder / "t5_xxl/b.pickle");
  EXPECT_THAT(refusal(folder.path()), HasSubstr("b.pickle"));
  fs::copy_file(test::golden() / "pt_t5_windows.pickle", folder / "t5_xxl/b.pickle");
  EXPECT_THAT(refusal(folder.path()), HasSubstr("wanted the embedding of one prompt"));
}

TEST(TableText, identity_follows_the_contents) {
  const test::ScratchFolder folder;
  const fs::path file = folder / "t.safetensors";
  save_safetensors(file, {{"a", at::ones({4, 3})}});
  const std::string identity = TableText(file, 8).identity();
  EXPECT_EQ(TableText(file, 8).identity(), identity);
  EXPECT_NE(TableText(file, 9).identity(), identity);
  save_safetensors(file, {{"a", at::full({4, 3}, 2.0)}});
  EXPECT_NE(TableText(file, 8).identity(), identity);
}

}  // namespace
}  // namespace orrery
