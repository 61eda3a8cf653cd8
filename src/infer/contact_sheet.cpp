#include "infer/contact_sheet.h"

#include <ATen/ops/_upsample_bilinear2d_aa.h>
#include <ATen/ops/full.h>

#include "base/error.h"
#include "infer/glyphs.h"

namespace orrery {
namespace {

constexpr int64_t kSmall = 96, kLarge = 192;  // rows of a frame on the sheet
constexpr int64_t kGap = 4;                   // pixels between frames
constexpr int64_t kTextHeight = 8, kTextWidth = 6;
constexpr uint8_t kPaper = 24, kInk = 235;

void check_film(const at::Tensor& film, const at::Tensor& like, const char* what, size_t row) {
  const bool shaped =
      film.defined() && film.dim() == 4 && film.size(3) == 3 && film.size(0) > 0 && film.numel() > 0;
  require(shaped && film.scalar_type() == at::kByte, "contact_sheet: row ", row, ": ", what,
          " is no film (wanted uint8 [F,H,W,3])");
  require(film.size(1) == like.size(1) && film.size(2) == like.size(2), "contact_sheet: row ", row, ": ",
          what, " is ", film.size(1), "x", film.size(2), ", wanted ", like.size(1), "x", like.size(2));
}

void check(const std::vector<SheetRow>& rows, int64_t frames) {
  require(!rows.empty() && frames >= 1, "contact_sheet: got ", rows.size(), " rows and ", frames,
          " frames, wanted 1 or more");
  const at::Tensor& like = rows.front().sample;
  for (size_t r = 0; r < rows.size(); ++r) {
    check_film(rows[r].sample, like.defined() ? like : rows[r].sample, "sample", r);
    check_film(rows[r].input, like, "input", r);
    require(rows[r].truth.defined() == rows.front().truth.defined(),
            "contact_sheet: some rows have a truth, others none");
    if (!rows[r].truth.defined()) continue;
    check_film(rows[r].truth, like, "truth", r);
    require(rows[r].truth.size(0) == rows[r].sample.size(0), "contact_sheet: row ", r, ": ",
            rows[r].sample.size(0), " sampled frames, ", rows[r].truth.size(0), " true ones");
  }
}

// uint8 [H,W,3] -> the size it has on the sheet.
at::Tensor thumbnail(const at::Tensor& frame) {
  const int64_t height = frame.size(0), width = frame.size(1);
  if (height <= kLarge) {
    const int64_t times = (kSmall + height - 1) / height;
    return frame.repeat_interleave(times, 0).repeat_interleave(times, 1);
  }
  const int64_t columns = std::max<int64_t>(1, width * kLarge / height);
  const at::Tensor planes = frame.permute({2, 0, 1}).unsqueeze(0).to(at::kFloat);
  const at::Tensor small = at::_upsample_bilinear2d_aa(planes, {kLarge, columns}, false);
  return small.round().clamp(0, 255).to(at::kByte).squeeze(0).permute({1, 2, 0});
}

std::vector<int64_t> spread(int64_t frames, int64_t total) {
  const int64_t count = std::min(frames, total);
  std::vector<int64_t> chosen;
  for (int64_t i = 1; i <= count; ++i) chosen.push_back(i * total / count - 1);
  return chosen;
}

struct Cell {
  at::Tensor frame;
  std::string label;
};

std::vector<Cell> cells_of(const SheetRow& row, int64_t frames) {
  std::vector<Cell> cells = {{row.input[row.input.size(0) - 1], "input"}};
  for (const auto& [film, name] : {std::pair(row.truth, "truth"), std::pair(row.sample, "sample")}) {
    if (!film.defined()) continue;
    for (const int64_t f : spread(frames, film.size(0))) cells.push_back({film[f], text_of(name, " ", f)});
  }
  return cells;
}

}  // namespace

void draw_text(at::Tensor& image, int64_t row, int64_t column, const std::string& text, int64_t scale) {
  auto pixels = image.accessor<uint8_t, 3>();
  for (size_t i = 0; i < text.size(); ++i) {
    const Glyph shape = glyph(text[i]);
    for (int64_t y = 0; y < 7 * scale; ++y) {
      for (int64_t x = 0; x < 5 * scale; ++x) {
        const int64_t at_row = row + y, at_column = column + static_cast<int64_t>(i) * kTextWidth * scale + x;
        const bool inked = shape[y / scale] >> (4 - x / scale) & 1;
        if (!inked || at_row < 0 || at_column < 0 || at_row >= image.size(0) || at_column >= image.size(1))
          continue;
        for (int64_t c = 0; c < 3; ++c) pixels[at_row][at_column][c] = kInk;
      }
    }
  }
}

at::Tensor contact_sheet(const std::vector<SheetRow>& rows, int64_t frames) {
  check(rows, frames);
  const at::Tensor like = thumbnail(rows.front().sample[0]);
  const int64_t scale = like.size(1) >= 14 * kTextWidth * 2 ? 2 : 1, line = (kTextHeight + 2) * scale;
  size_t columns = 0;
  for (const auto& row : rows) columns = std::max(columns, cells_of(row, frames).size());
  const int64_t cell_width = like.size(1) + kGap, cell_height = like.size(0) + 2 * line + kGap;
  const at::Tensor sheet = at::full({static_cast<int64_t>(rows.size()) * cell_height + kGap,
                                     static_cast<int64_t>(columns) * cell_width + kGap, 3},
                                    kPaper, at::kByte);
  at::Tensor canvas = sheet;
  for (size_t r = 0; r < rows.size(); ++r) {
    const int64_t top = static_cast<int64_t>(r) * cell_height + kGap;
    draw_text(canvas, top, kGap, rows[r].caption, scale);
    int64_t left = kGap;
    for (const auto& cell : cells_of(rows[r], frames)) {
      draw_text(canvas, top + line, left, cell.label, scale);
      sheet.narrow(0, top + 2 * line, like.size(0))
          .narrow(1, left, like.size(1))
          .copy_(thumbnail(cell.frame));
      left += cell_width;
    }
  }
  return sheet;
}

}  // namespace orrery
