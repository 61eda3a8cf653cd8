#pragma once
// The contact sheet of a set of samples: one row a clip, and side by side what the model was given, what
// really happened and what the model made of it. Drawn by evaluation and by the quick start.
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace orrery {

// Films are uint8 [F,H,W,3] RGB of one size.
struct SheetRow {
  at::Tensor input;   // the given frames
  at::Tensor truth;   // undefined: the column is left out (for all rows)
  at::Tensor sample;  // as many frames as truth
  std::string caption = {};
};

// Picks `frames` frames of truth and sample, evenly spread and the last among them, and the last given frame.
// Small frames are enlarged by whole factors, large ones reduced to 192 rows. Returns uint8 [H,W,3]. Throws
// Error for no rows, wrong shapes, or fewer than one frame.
at::Tensor contact_sheet(const std::vector<SheetRow>& rows, int64_t frames);

// Writes text (letters, digits and common signs; others show as a box) with its upper left corner at (row,
// column) in an image uint8 [H,W,3]; what does not fit is cut off. A character is 6 x 8 pixels times scale.
void draw_text(at::Tensor& image, int64_t row, int64_t column, const std::string& text, int64_t scale);

}  // namespace orrery
