// .pt files as PyTorch itself reads them, files above 4 GiB, and the memory that loading a shard takes.
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <cstdlib>

#include "ckpt/key_rules.h"
#include "ckpt/torch_writer.h"
#include "twin.h"

namespace orrery {
namespace {

using test::ScratchFolder;

constexpr int64_t kMiB = int64_t{1} << 20, kGiB = int64_t{1} << 30;

// A field of /proc/self/status, in bytes.
int64_t status_bytes(const std::string& field) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(field + ":")) return std::stoll(line.substr(field.size() + 1)) << 10;
  return 0;
}

TEST(TorchWriterSlow, pytorch_loads_every_dtype_with_weights_only) {
  const ScratchFolder folder;
  std::map<std::string, at::Tensor> tensors;
  for (const at::ScalarType type :
       {at::kBool, at::kByte, at::kChar, at::kShort, at::kInt, at::kLong, at::kHalf, at::kBFloat16,
        at::kFloat, at::kDouble, at::kComplexFloat, at::kUInt16, at::kUInt32, at::kUInt64, at::kFloat8_e4m3fn,
        at::kFloat8_e5m2})
    tensors.emplace(text_of("t.", type), at::randn({3, 5}).abs().to(type));
  tensors.emplace("scalar", at::full({}, 7.0));
  tensors.emplace("empty", at::zeros({2, 0, 300}));
  tensors.emplace("wide", at::randn({70000, 2}).t());
  save_torch(folder / "ours.pt", tensors);
  const std::string command = "python3 " ORRERY_SOURCE_DIR "/tests/ckpt/torch_load.py " +
                              (folder / "ours.pt").string() + " " + (folder / "theirs.pt").string();
  const int status = std::system(command.c_str());
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "python3 has no torch to load the file with";
  ASSERT_EQ(WEXITSTATUS(status), 0);
  const auto theirs = open_weights(folder / "theirs.pt");  // what it loaded, saved again by PyTorch
  EXPECT_EQ(theirs->entries().size(), tensors.size());
  for (const auto& [name, tensor] : tensors)
    EXPECT_TRUE(test::same_bytes(theirs->tensor(name), tensor)) << name;
}

TEST(TorchWriterSlow, tensors_and_offsets_above_4_gib) {
  const ScratchFolder folder;
  const auto free = std::filesystem::space(folder.path()).available;
  if (free < 6 * static_cast<uint64_t>(kGiB)) GTEST_SKIP() << "6 GiB of disk are not free";
  save_torch(folder / "large.pt", {{"a", at::zeros({4 * kGiB + 3}, at::kByte)}, {"b", at::full({5}, 3.0)}});
  const auto file = open_weights(folder / "large.pt");
  EXPECT_EQ(file->entry("a").shape, std::vector<int64_t>{4 * kGiB + 3});
  EXPECT_EQ(file->rows("a", {4 * kGiB, 4 * kGiB + 3}).sum().item<int64_t>(), 0);
  EXPECT_EQ(file->tensor("b").sum().item<float>(), 15);
}

// A quarter of 1.5 GiB, read from both formats; what was read is given back as it is copied.
TEST(LoadSlow, loading_a_shard_takes_the_memory_of_the_shard) {
  const ScratchFolder folder;
  constexpr int64_t kTensors = 24, kRows = 1024, kColumns = 16384;  // 64 MiB each
  std::vector<TensorSpec> specs;
  for (int64_t i = 0; i < kTensors; ++i)
    specs.push_back({text_of("net.w", i), at::kFloat, {kRows, kColumns}});
  TorchWriter writer(folder / "model.pt", specs);
  for (int64_t i = 0; i < kTensors; ++i) writer.write(at::full({kRows, kColumns}, static_cast<double>(i)));
  writer.publish();
  LoadRequest request;
  for (int64_t i = 0; i < kTensors; ++i)
    request.parameters.push_back(
        {text_of("w", i), {kRows, kColumns}, kRows / 4, at::zeros({kRows / 4, kColumns})});
  std::ofstream("/proc/self/clear_refs") << 5;  // the peak begins again from what is in use
  const int64_t before = status_bytes("VmRSS");
  load_shards(*open_weights(folder / "model.pt"), request);
  const int64_t shard = kTensors * kRows * kColumns;  // a quarter of 4 bytes each
  EXPECT_LT(status_bytes("VmHWM") - before, shard + 64 * kMiB);
  for (int64_t i = 0; i < kTensors; ++i)
    EXPECT_EQ(request.parameters[static_cast<size_t>(i)].local[7][9].item<float>(), static_cast<float>(i));
}

}  // namespace
}  // namespace orrery
