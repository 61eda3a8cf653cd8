// Sizes in a manifest: what is accepted can be multiplied.
#include "ckpt/manifest.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace orrery {
namespace {

TEST(ManifestSizes, sizes_that_overflow_are_refused_though_a_dimension_is_zero) {
  constexpr int64_t kHuge = int64_t{1} << 60;
  for (const auto& shape : {std::vector<int64_t>{0, kHuge, kHuge}, {kHuge, 0, kHuge}, {kHuge, kHuge, 0}}) {
    Manifest manifest;
    manifest.tensors["w"] = {at::kFloat, shape, {}};
    EXPECT_THROW(parse_manifest(manifest_text(manifest), "test", Coverage::whole), Error) << shape[1];
  }
}

TEST(ManifestSizes, an_empty_tensor_of_sound_sizes_is_read) {
  Manifest manifest;
  manifest.tensors["w"] = {at::kFloat, {0, 3, 5}, {}};
  const Manifest read = parse_manifest(manifest_text(manifest), "test", Coverage::whole);
  EXPECT_EQ(read.tensors.at("w").row_bytes(), 60);
}

}  // namespace
}  // namespace orrery
