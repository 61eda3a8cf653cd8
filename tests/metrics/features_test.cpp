#include "metrics/features.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "ckpt/safetensors.h"
#include "fixtures.h"
#include "media/codecs.h"
#include "media/encode.h"

namespace orrery {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Features, are_the_only_tensor_of_a_file_or_the_named_one) {
  const test::ScratchFolder scratch;
  const at::Tensor features = at::full({3, 2}, 0.5);
  save_safetensors(scratch / "one.safetensors", {{"i3d", features}});
  save_safetensors(scratch / "two.safetensors", {{"i3d", features}, {"fps", at::zeros({1, 3})}});
  EXPECT_TRUE(read_features(scratch / "one.safetensors").equal(features));
  EXPECT_TRUE(read_features(scratch / "two.safetensors", "i3d").equal(features));
  EXPECT_THAT([&] { read_features(scratch / "two.safetensors"); },
              ThrowsMessage<Error>(HasSubstr("holds 2 tensors")));
  EXPECT_THROW(read_features(scratch / "two.safetensors", "c3d"), Error);
  save_safetensors(scratch / "bytes.safetensors", {{"i3d", features.to(at::kByte)}});
  EXPECT_THAT([&] { read_features(scratch / "bytes.safetensors"); },
              ThrowsMessage<Error>(HasSubstr("wanted floating point [n,d]")));
}

TEST(Features, of_films_come_from_the_given_network) {
  if (ffmpeg_version().empty()) GTEST_SKIP() << "built without FFmpeg";
  const test::ScratchFolder scratch;
  std::vector<std::filesystem::path> films;
  for (const int64_t level : {16, 128}) {
    films.push_back(scratch / (std::to_string(level) + ".mp4"));
    write_mp4(films.back(), at::full({5, 16, 16, 3}, level, at::kByte));
  }
  const FeatureNetwork mean_colour = [](const at::Tensor& clips) {
    EXPECT_EQ(clips.sizes(), at::IntArrayRef({1, 4, 16, 16, 3}));
    return clips.to(at::kDouble).mean({1, 2, 3});
  };
  const at::Tensor found = film_features(mean_colour, films, 4);
  ASSERT_EQ(found.sizes(), at::IntArrayRef({2, 3}));
  EXPECT_NEAR(found[0][0].item<double>(), 16, 2);
  EXPECT_NEAR(found[1][2].item<double>(), 128, 2);
  EXPECT_THAT([&] { film_features(mean_colour, films, 6); },
              ThrowsMessage<Error>(HasSubstr("5 frames, wanted at least 6")));
  const FeatureNetwork flat = [](const at::Tensor&) { return at::zeros({3}); };
  EXPECT_THAT([&] { film_features(flat, films, 4); }, ThrowsMessage<Error>(HasSubstr("wanted [1,d]")));
}

}  // namespace orrery
