#include "media/resize.h"

#include <ATen/ops/_upsample_bicubic2d_aa.h>
#include <ATen/ops/_upsample_bilinear2d_aa.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/rng.h"
#include "ckpt/safetensors.h"
#include "fixtures.h"

namespace orrery {
namespace {

at::Tensor noise(at::IntArrayRef shape) {
  return (Rng(2, "pixels").uniform_tensor(shape) * 256).to(at::kByte);
}

// The slow twin: torch's own antialiased kernel on float planes.
at::Tensor by_torch(const at::Tensor& frames, int64_t height, int64_t width) {
  const at::Tensor planes = frames.permute({0, 3, 1, 2}).to(at::kFloat) / 255;
  const at::Tensor small = at::_upsample_bilinear2d_aa(planes, {height, width}, false);
  return (small * 255).clamp(0, 255).to(at::kByte).permute({0, 2, 3, 1});
}

// At most that fraction of the values differ, by at most one.
void expect_near(const at::Tensor& got, const at::Tensor& want, double fraction) {
  ASSERT_EQ(got.sizes(), want.sizes());
  const at::Tensor difference = (got.to(at::kInt) - want.to(at::kInt)).abs();
  EXPECT_LE(difference.max().item<int>(), 1);
  EXPECT_LE(difference.to(at::kDouble).mean().item<double>(), fraction);
}

TEST(ResizeStretch, agrees_with_torch_up_down_and_stretched) {
  const at::Tensor frames = noise({2, 37, 53, 3});
  for (const auto& [height, width] : std::vector<std::pair<int64_t, int64_t>>{
           {20, 30}, {64, 64}, {37, 20}, {100, 53}, {1, 1}, {5, 200}, {36, 52}}) {
    SCOPED_TRACE(testing::Message() << height << "x" << width);
    expect_near(resize_stretch(frames, height, width), by_torch(frames, height, width), 0.01);
  }
  expect_near(resize_stretch(noise({1, 1, 1, 3}), 4, 3), by_torch(noise({1, 1, 1, 3}), 4, 3), 1);
}

TEST(ResizeStretch, leaves_the_same_size_alone) {
  const at::Tensor frames = noise({1, 9, 7, 3});
  EXPECT_TRUE(at::equal(resize_stretch(frames, 9, 7), frames));
}

TEST(Resize, refuses_other_layouts) {
  EXPECT_THROW(resize_stretch(noise({2, 3, 9, 7}), 4, 4), Error);
  EXPECT_THROW(resize_stretch(noise({1, 9, 7, 3}).to(at::kFloat), 4, 4), Error);
  EXPECT_THROW(resize_stretch(noise({1, 9, 7, 3}), 0, 4), Error);
  EXPECT_THROW(resize_cover_crop(noise({1, 0, 7, 3}), 4, 4), Error);
}

TEST(ResizeCoverCrop, keeps_the_middle_and_the_aspect_ratio) {
  at::Tensor frames = at::full({1, 20, 60, 3}, 7, at::kByte);
  frames.narrow(2, 20, 20).fill_(90);
  const at::Tensor square = resize_cover_crop(frames, 10, 10);
  EXPECT_EQ(square.sizes(), (at::IntArrayRef{1, 10, 10, 3}));
  EXPECT_EQ(square.narrow(2, 1, 8).min().item<int>(), 90);
}

TEST(ResizeFitPad, mirrors_without_repeating_the_edge) {
  const at::Tensor frames = noise({1, 8, 4, 3});
  const Padded padded = resize_fit_pad(frames, 8, 8);
  EXPECT_TRUE(at::equal(padded.frames.narrow(2, 2, 4), frames));
  EXPECT_TRUE(at::equal(padded.frames.select(2, 1), frames.select(2, 1)));
  EXPECT_TRUE(at::equal(padded.frames.select(2, 6), frames.select(2, 2)));
  EXPECT_EQ(padded.padding_mask.sum().item<int>(), 32);
}

// [F,3,H,W] <-> [F,H,W,3]
at::Tensor pixels_last(const at::Tensor& planes) {
  return planes.permute({0, 2, 3, 1}).contiguous();
}

// One prep_dit_* case of the golden collection.
void expect_golden(const std::filesystem::path& path) {
  SCOPED_TRACE(path.filename());
  const Safetensors file(path);
  const auto config = nlohmann::json::parse(file.metadata().at("config"));
  const auto allowed = nlohmann::json::parse(file.metadata().at("int_tolerance"));
  const auto fraction = [&](const char* name) { return allowed[name]["max_fraction"].get<double>(); };
  const at::Tensor frames = pixels_last(file.tensor("inputs.frames"));
  const std::string module = file.metadata().at("module");
  if (module == "prep_dit_data") {
    const at::Tensor got = resize_stretch(frames, config["height"], config["width"]);
    expect_near(got, pixels_last(file.tensor("outputs.frames")), fraction("frames"));
  } else if (module == "prep_dit_pad") {
    const Padded got = resize_fit_pad(frames, config["size"][1], config["size"][0]);
    expect_near(got.frames, pixels_last(file.tensor("outputs.frames")), fraction("frames"));
    EXPECT_TRUE(at::equal(got.padding_mask, file.tensor("outputs.padding_mask")[0]));
  } else if (module == "prep_dit_condition") {  // the last frames of the input come first, filler follows
    const at::Tensor want = file.tensor("outputs.video").permute({1, 2, 3, 0}).contiguous();
    const at::Tensor got = resize_cover_crop(frames, config["resolution"][0], config["resolution"][1]);
    const int64_t used =
        config["kind"] == "image" ? 1 : 4 * (config["num_latent_conditional_frames"].get<int64_t>() - 1) + 1;
    expect_near(got.narrow(0, got.size(0) - used, used), want.narrow(0, 0, used), fraction("video"));
  } else {
    ADD_FAILURE() << "unknown module " << module;
  }
}

TEST(PrepGolden, cases_of_the_repository_agree) {
  const auto files = test::files_in(test::golden(), "prep_dit_", ".safetensors");
  EXPECT_EQ(files.size(), 6u);
  for (const auto& path : files) expect_golden(path);
}

TEST(PrepGolden, cases_of_the_shared_collection_agree) {
  const auto files = test::files_in(test::shared_parity(), "prep_dit_", ".safetensors");
  if (files.empty()) GTEST_SKIP() << "../shared/parity/prep_dit_* is absent";
  for (const auto& path : files) expect_golden(path);
}

}  // namespace
}  // namespace orrery
