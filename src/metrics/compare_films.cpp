#include "metrics/compare_films.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "media/decode.h"
#include "metrics/mean_square.h"
#include "metrics/psnr.h"
#include "metrics/ssim.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

constexpr double kMostDb = 99;          // of equal frames, so that means stay numbers
constexpr int64_t kFramesAtOnce = 16;   // decoded and measured together
constexpr int64_t kTemporalFactor = 4;  // film frames of a latent frame after the first

std::map<std::string, fs::path> films_by_name(const fs::path& folder) {
  require(fs::is_directory(folder), folder.string(), ": no such folder");
  const fs::path where = fs::is_directory(folder / "videos") ? folder / "videos" : folder;
  std::map<std::string, fs::path> films;
  for (const auto& item : fs::directory_iterator(where)) {
    const fs::path& path = item.path();
    if (path.filename().string().starts_with(".") ||
        !(has_video_extension(path) || has_image_extension(path)))
      continue;
    const auto [known, fresh] = films.emplace(path.stem().string(), path);
    require(fresh, where.string(), ": ", known->second.filename().string(), " and ", path.filename().string(),
            ", wanted one film of a name");
  }
  return films;
}

struct OpenPair {
  VideoFile film, truth;
  int64_t frames;  // compared, the skipped ones included
};

OpenPair open_pair(const FilmPair& pair, const CompareOptions& o) {
  VideoFile film(pair.film), truth(pair.truth);
  require(film.height() == truth.height() && film.width() == truth.width(), pair.name, ": ", film.height(),
          "x", film.width(), " and in truth ", truth.height(), "x", truth.width(), ", wanted equal sizes");
  require(o.frames > 0 || film.frames() == truth.frames(), pair.name, ": ", film.frames(),
          " frames and in truth ", truth.frames(), ", wanted as many, or the number of frames to compare");
  const int64_t frames = o.frames > 0 ? o.frames : film.frames();
  require(film.frames() >= frames && truth.frames() >= frames, pair.name, ": ", film.frames(),
          " frames and in truth ", truth.frames(), ", wanted at least ", frames);
  require(o.skip < frames, pair.name, ": of ", frames, " frames the first ", o.skip,
          " are not compared, which leaves none");
  require(!o.latents || frames % kTemporalFactor == 1, pair.name, ": ", frames,
          " frames, wanted 1 + 4 n of them for latents");
  return {std::move(film), std::move(truth), frames};
}

double sum(const at::Tensor& values) {
  return values.sum().item<double>();
}

double latents_apart(OpenPair& open, const CompareOptions& o) {
  const auto latents = [&](VideoFile& file) {
    const at::Tensor frames = file.read(0, open.frames);
    return o.latents(frames.permute({3, 0, 1, 2}).unsqueeze(0).contiguous());
  };
  // Latent frame t > 0 holds film frames 4 t - 3 to 4 t.
  const int64_t given = o.skip == 0 ? 0 : 1 + (o.skip - 1 + kTemporalFactor - 1) / kTemporalFactor;
  const at::Tensor film = latents(open.film), truth = latents(open.truth);
  require(given < film.size(2), "latent L2: the ", o.skip, " skipped frames lie in all ", film.size(2),
          " latent frames");
  return sum(latent_l2(film.slice(2, given), truth.slice(2, given)));
}

}  // namespace

std::vector<FilmPair> pair_films(const fs::path& films, const fs::path& truth) {
  const auto ours = films_by_name(films), theirs = films_by_name(truth);
  require(!ours.empty(), films.string(), ": no films");
  std::vector<FilmPair> pairs;
  std::string alone;
  for (const auto& [name, film] : ours) {
    const auto found = theirs.find(name);
    if (found == theirs.end())
      alone += (alone.empty() ? "" : ", ") + film.filename().string();
    else
      pairs.push_back({name, film, found->second});
  }
  require(alone.empty(), truth.string(), ": no film of the name of ", alone);
  return pairs;
}

void check_pairs(const std::vector<FilmPair>& pairs, const CompareOptions& options) {
  require(options.frames >= 0 && options.skip >= 0, "frames=", options.frames, " and skip=", options.skip,
          ", wanted 0 or more");
  std::string problems;
  for (const FilmPair& pair : pairs) try {
      open_pair(pair, options);
    } catch (const Error& error) {
      problems += std::string(problems.empty() ? "" : "\n") + error.what();
    }
  require(problems.empty(), problems);
}

FilmQuality compare_films(const FilmPair& pair, const CompareOptions& options) {
  OpenPair open = open_pair(pair, options);
  FilmQuality q;
  q.frames = open.frames - options.skip;
  for (int64_t first = options.skip; first < open.frames; first += kFramesAtOnce) {
    const int64_t count = std::min(kFramesAtOnce, open.frames - first);
    const at::Tensor film = open.film.read(first, count), truth = open.truth.read(first, count);
    const at::Tensor grey = grey_of(film), true_grey = grey_of(truth);
    q.psnr_db += sum(psnr(film, truth).clamp_max(kMostDb));
    q.psnr_grey_db += sum(psnr(grey, true_grey).clamp_max(kMostDb));
    q.ssim += sum(ssim(grey, true_grey));
  }
  for (double* const value : {&q.psnr_db, &q.psnr_grey_db, &q.ssim}) *value /= static_cast<double>(q.frames);
  if (options.latents) q.latent_l2 = latents_apart(open, options);
  return q;
}

FilmQuality mean_of(const std::vector<FilmQuality>& films) {
  require(!films.empty(), "mean_of: no films");
  FilmQuality mean;
  const double share = 1 / static_cast<double>(films.size());
  for (const FilmQuality& q : films) {
    mean.frames += q.frames;
    mean.psnr_db += share * q.psnr_db;
    mean.psnr_grey_db += share * q.psnr_grey_db;
    mean.ssim += share * q.ssim;
    if (q.latent_l2) mean.latent_l2 = mean.latent_l2.value_or(0) + share * *q.latent_l2;
  }
  return mean;
}

}  // namespace orrery
