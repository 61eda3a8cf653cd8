#pragma once
// Films and still images to files. Called by demo-data, evaluation, generation and tests.
// Every file is written under a temporary name beside its place and renamed when it is complete; the same
// pixels give the same bytes.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>

#include "media/decode.h"

namespace orrery {

struct Mp4Options {
  Rational fps = {16, 1};  // the references write 16 frames per second
  int crf = 18;            // x264's quality scale: 0 lossless .. 51
  std::string preset = "medium";
  bool bt709 = true;  // colour matrix and its tag; false: BT.601 (SMPTE 170M)
};

// H.264 (x264, yuv420p, limited range, tagged) in MP4 with the header in front. frames: uint8 [F,H,W,3] RGB,
// F >= 1. yuv420p has even sizes only: an odd height or width is extended by repeating the last row or
// column. Throws Error on bad shapes and if the file cannot be written (Exit::failure).
void write_mp4(const std::filesystem::path& path, const at::Tensor& frames, const Mp4Options& options = {});

// image: uint8 [H,W,3] RGB.
void write_png(const std::filesystem::path& path, const at::Tensor& image);
// quality: 1..100 on the IJG scale (4:2:0, tables of ITU-T T.81 annex K), as PIL and the references count it.
void write_jpeg(const std::filesystem::path& path, const at::Tensor& image, int quality = 85);

}  // namespace orrery
