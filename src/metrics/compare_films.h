#pragma once
// Films against the true ones of the same names. Used by `orrery metrics` and by tests.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace orrery {

struct FilmPair {
  std::string name;  // of both, without ending
  std::filesystem::path film, truth;
};

// The films of a folder (of its videos/ if it has one), each with the film of that name in the other folder,
// which may hold more. Error, with the list: films without truth, two films of one name, no films.
std::vector<FilmPair> pair_films(const std::filesystem::path& films, const std::filesystem::path& truth);

// uint8 [1,3,F,H,W] to latents [1,C,T,h,w].
using LatentsOf = std::function<at::Tensor(const at::Tensor& video)>;

struct CompareOptions {
  int64_t frames = 0;  // compared from the start of both, so that either may be longer; 0: all, equally many
  int64_t skip = 1;    // of these, frames at the start that are left out because they were given
  LatentsOf latents;  // for latent_l2, which leaves out the latent frames that hold skipped ones; empty: none
};

// Means over the frames compared, of PSNR in colour and on grey (dB; an equal frame counts 99) and of SSIM on
// grey; the mean squared difference of the latents.
struct FilmQuality {
  int64_t frames = 0;  // compared
  double psnr_db = 0, psnr_grey_db = 0, ssim = 0;
  std::optional<double> latent_l2;
};

// Error, a line for each pair: films that cannot be read, frames of different size or too few, none left to
// compare. Made of headers alone, before anything is measured.
void check_pairs(const std::vector<FilmPair>& pairs, const CompareOptions& options);
FilmQuality compare_films(const FilmPair& pair, const CompareOptions& options);
FilmQuality mean_of(const std::vector<FilmQuality>& films);  // each counts once, however long; frames add up

}  // namespace orrery
