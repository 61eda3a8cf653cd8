#include "infer/contact_sheet.h"

#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/error.h"

namespace orrery {
namespace {

// Frame f of the film is one colour: first + f.
at::Tensor film(int64_t frames, int64_t height, int64_t width, int64_t first) {
  std::vector<at::Tensor> all;
  for (int64_t f = 0; f < frames; ++f) all.push_back(at::full({height, width, 3}, first + f, at::kByte));
  return at::stack(all);
}

// The colours of the cells of a row, left to right: wide runs of one grey in the middle of the row's frames.
std::vector<int64_t> colours_at(const at::Tensor& sheet, int64_t row) {
  std::vector<int64_t> runs;
  int64_t length = 0, last = -1;
  for (int64_t x = 0; x < sheet.size(1); ++x) {
    const int64_t grey = sheet[row][x][0].item<int64_t>();
    length = grey == last ? length + 1 : 1;
    last = grey;
    if (length == 20) runs.push_back(grey);
  }
  return runs;
}

TEST(ContactSheet, shows_input_truth_and_sample_side_by_side) {
  const SheetRow row = {
      .input = film(2, 32, 48, 40), .truth = film(9, 32, 48, 100), .sample = film(9, 32, 48, 200)};
  const at::Tensor sheet = contact_sheet({row, row}, 3);
  EXPECT_EQ(sheet.scalar_type(), at::kByte);
  EXPECT_EQ(sheet.size(2), 3);
  const auto upper = colours_at(sheet, sheet.size(0) / 2 - 10), lower = colours_at(sheet, sheet.size(0) - 10);
  EXPECT_THAT(upper, testing::ElementsAre(41, 102, 105, 108, 202, 205, 208));
  EXPECT_EQ(lower, upper);
}

TEST(ContactSheet, generation_without_truth_has_two_parts) {
  const SheetRow row = {.input = film(1, 32, 48, 40), .truth = {}, .sample = film(2, 32, 48, 200)};
  const at::Tensor sheet = contact_sheet({row}, 5);
  EXPECT_THAT(colours_at(sheet, sheet.size(0) - 10), testing::ElementsAre(40, 200, 201));
}

TEST(ContactSheet, large_frames_are_reduced) {
  const SheetRow row = {.input = film(1, 704, 1280, 40), .truth = {}, .sample = film(1, 704, 1280, 200)};
  const at::Tensor sheet = contact_sheet({row}, 1);
  EXPECT_LT(sheet.size(0), 260);
  EXPECT_LT(sheet.size(1), 720);
  EXPECT_THAT(colours_at(sheet, sheet.size(0) - 50), testing::ElementsAre(40, 200));
}

TEST(ContactSheet, captions_change_the_picture) {
  SheetRow row = {.input = film(1, 32, 48, 40), .truth = {}, .sample = film(1, 32, 48, 200)};
  const at::Tensor plain = contact_sheet({row}, 1);
  row.caption = "push the red block to the left, a caption that is much longer than the sheet is wide \xff\n";
  EXPECT_FALSE(contact_sheet({row}, 1).equal(plain));
}

TEST(ContactSheet, wrong_films_are_refused) {
  const SheetRow good = {.input = film(1, 8, 8, 0), .truth = film(2, 8, 8, 0), .sample = film(2, 8, 8, 0)};
  EXPECT_NO_THROW(contact_sheet({good}, 2));
  EXPECT_THROW(contact_sheet({}, 2), Error);
  EXPECT_THROW(contact_sheet({good}, 0), Error);
  const auto refused = [&](const std::function<void(SheetRow&)>& spoil) {
    SheetRow bad = good;
    spoil(bad);
    EXPECT_THROW(contact_sheet({good, bad}, 2), Error);
  };
  refused([](SheetRow& r) { r.truth.reset(); });
  refused([](SheetRow& r) { r.sample.reset(); });
  refused([](SheetRow& r) { r.input = film(1, 8, 9, 0); });
  refused([](SheetRow& r) { r.sample = film(3, 8, 8, 0); });
  refused([](SheetRow& r) { r.truth = r.truth.to(at::kFloat); });
  refused([](SheetRow& r) { r.input = r.input.narrow(0, 0, 0); });
  SheetRow none = good;
  none.sample.reset();
  EXPECT_THROW(contact_sheet({none}, 2), Error);
}

TEST(DrawText, letters_differ_and_stay_inside) {
  std::set<std::string> seen;
  const std::string letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?-+/()=_%'\"#<> ~";
  for (const char letter : letters) {
    at::Tensor image = at::zeros({8, 6, 3}, at::kByte);
    draw_text(image, 0, 0, std::string(1, letter), 1);
    seen.insert(
        {reinterpret_cast<const char*>(image.const_data_ptr<uint8_t>()), static_cast<size_t>(image.numel())});
    EXPECT_EQ(image[7].sum().item<int64_t>() + image.select(1, 5).sum().item<int64_t>(), 0) << letter;
  }
  EXPECT_EQ(seen.size(), letters.size());
  at::Tensor image = at::zeros({8, 6, 3}, at::kByte);
  draw_text(image, -3, -100, "outside on all sides", 7);
  draw_text(image, 7, 5, "outside", 1);
}

}  // namespace
}  // namespace orrery
