// What a run keeps of its files.
#include "infer/world_model.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <fstream>

#include "fixtures.h"

namespace orrery {
namespace {

TEST(Tokenizer, stays_as_it_was_loaded_when_its_file_is_changed_or_removed) {
  const test::ScratchFolder folder;
  constexpr int64_t kBlock = LinearTokenizer::kBlock;
  const LinearTokenizer saved(
      {at::eye(kBlock).narrow(1, 0, 4).contiguous(), at::arange(kBlock, at::kFloat), at::ones({4}), 0.5});
  save_tokenizer(folder.path(), saved);
  const auto tokenizer = load_tokenizer(folder.path(), 4);
  const auto file = folder / "tokenizer.safetensors";
  const auto size = std::filesystem::file_size(file);
  std::fstream(file, std::ios::in | std::ios::out | std::ios::binary) << std::string(size, 'x');  // in place
  for (const auto& [name, tensor] : saved.tensors())
    EXPECT_TRUE(at::equal(tokenizer->tensors().at(name), tensor)) << name;
}

}  // namespace
}  // namespace orrery
