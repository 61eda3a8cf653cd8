// open_weights: what a folder is taken for where several answers are possible.
#include "ckpt/weight_file.h"

#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "ckpt/safetensors.h"
#include "fixtures.h"

namespace orrery {
namespace {

TEST(OpenWeights, a_folder_with_weights_is_no_run_even_if_checkpoints_lie_in_it) {
  const test::ScratchFolder folder;
  std::filesystem::create_directories(folder / "checkpoints");
  EXPECT_THROW(open_weights(folder.path()), Error);  // a run without a checkpoint
  save_safetensors(folder / "model.safetensors", {{"a", at::ones({2})}});
  EXPECT_TRUE(open_weights(folder.path())->contains("a"));
  std::filesystem::copy(test::golden() / "dcp_tiny" / "model", folder / "model");
  EXPECT_TRUE(open_weights(folder.path())->contains("net.emb"));
}

}  // namespace
}  // namespace orrery
