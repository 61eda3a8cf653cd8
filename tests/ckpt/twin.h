#pragma once
// Files to read come with a safetensors twin of their contents, and files to refuse with the reason.
#include <gmock/gmock.h>
#include <sys/resource.h>

#include <chrono>
#include <cstring>

#include "base/error.h"
#include "ckpt/safetensors.h"
#include "ckpt/weight_file.h"
#include "ckpt/zip_archive.h"
#include "fixtures.h"

namespace orrery::test {

inline bool same_bytes(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor left = a.contiguous(), right = b.contiguous();
  return left.scalar_type() == right.scalar_type() && left.sizes() == right.sizes() &&
         (left.nbytes() == 0 ||
          std::memcmp(left.const_data_ptr(), right.const_data_ptr(), left.nbytes()) == 0);
}

// Every tensor and leaf of a file has the twin's name with this prefix, and its bytes; returns how many.
inline size_t expect_twin(const WeightFile& file, const Safetensors& twin, const std::string& prefix = "") {
  for (const auto& [name, entry] : file.entries()) {
    EXPECT_TRUE(twin.contains(prefix + name)) << file.path() << " " << name;
    if (!twin.contains(prefix + name)) continue;
    EXPECT_TRUE(same_bytes(file.tensor(name), twin.tensor(prefix + name))) << file.path() << " " << name;
    const int64_t rows = entry.shape.empty() ? 0 : entry.shape[0];
    for (int64_t begin = 0; begin < rows; begin += 2) {
      const RowRange some{begin, std::min(rows, begin + 2)};
      EXPECT_TRUE(same_bytes(file.rows(name, some), twin.rows(prefix + name, some))) << name << " " << begin;
    }
  }
  const auto wanted = nlohmann::json::parse(twin.metadata().at("leaves"));
  for (const auto& [path, leaf] : file.leaves()) {
    EXPECT_EQ(leaf, wanted.value(prefix + path, nlohmann::json("absent"))) << path;
  }
  return file.entries().size() + file.leaves().size();
}

inline size_t size_of(const Safetensors& twin) {
  return twin.entries().size() + nlohmann::json::parse(twin.metadata().at("leaves")).size();
}

// The message of the refusal, or "accepted"; everything in the file is read.
inline std::string refusal(const std::filesystem::path& path) {
  try {
    const auto file = open_weights(path);
    for (const auto& [name, tensor] : file->tensors()) EXPECT_TRUE(tensor.defined());
    file->leaves();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

// Flips a bit of the first storage in an archive of torch.save, which lies at [begin, begin + size) of a
// file.
inline void damage_storage(std::string& file, size_t begin = 0, size_t size = std::string::npos) {
  const ZipArchive archive(std::string_view(file).substr(begin, size));
  for (const auto& [name, entry] : archive.entries())
    if (name.ends_with("/data/0")) file[static_cast<size_t>(entry.contents.data() - file.data())] ^= 1;
}

// Each file is refused for its reason and by its name, in under a second and 100 MB.
inline void expect_refusals(const std::filesystem::path& folder, const std::string& prefix,
                            const std::map<std::string, std::string>& reasons) {
  const auto peak = [] {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;  // KiB
  };
  for (const auto& [name, reason] : reasons) {
    const auto begin = std::chrono::steady_clock::now();
    const auto before = peak();
    const std::string text = refusal(folder / (prefix + name));
    EXPECT_THAT(text, testing::AllOf(testing::HasSubstr(reason), testing::HasSubstr(prefix + name)));
    EXPECT_LT(peak() - before, 100 << 10) << name;
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1)) << name;
  }
}

}  // namespace orrery::test
