// orrery metrics: films against the true ones of the same names, and Fréchet distances of features.
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/columns.h"
#include "ckpt/atomic_file.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "infer/make_tokenizer.h"
#include "infer/world_model.h"
#include "metrics/compare_films.h"
#include "metrics/features.h"
#include "metrics/frechet.h"

namespace orrery::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

enum class Distance { fvd, fid };

std::span<const std::string_view> names_of(Distance) {
  static constexpr std::string_view names[] = {"fvd", "fid"};
  return names;
}

struct Request {
  std::string films, truth, run, features, true_features, tensor, json;
  CompareOptions compare;
  Distance distance = Distance::fvd;
};

Settings table_of(Request& r) {
  Settings s;
  s.bind("films", r.films, "folder of the films to measure, or one with videos/ in it");
  s.bind("truth", r.truth, "folder of the true films, of the same names; it may hold more");
  s.bind("frames", r.compare.frames, "compare the first so many; 0: all, equally many", {.least = 0});
  s.bind("skip", r.compare.skip, "frames at the start that are left out: the given ones", {.least = 0});
  s.bind("run", r.run, "run folder whose tokenizer makes the latents of latent_l2; empty: none");
  s.bind("features", r.features, "file of the films' features [n,d], made by a network of your own");
  s.bind("true_features", r.true_features, "file of the true films' features");
  s.bind("tensor", r.tensor, "name of the features in their files; empty: the only tensor");
  s.bind("distance", r.distance, "of the features: fvd (covariance over n) or fid (over n - 1)");
  s.bind("json", r.json, "file to write the figures to as well");
  return s;
}

void check(const Request& r) {
  require(!r.films.empty() || !r.features.empty(),
          "metrics: neither --films nor --features (orrery metrics --help tells more)");
  require(r.films.empty() == r.truth.empty(), "metrics: --films and --truth go together");
  require(r.features.empty() == r.true_features.empty(),
          "metrics: --features and --true_features go together");
  std::error_code error;
  require(r.json.empty() || !fs::exists(r.json, error) || fs::is_regular_file(r.json, error),
          "metrics: --json=", r.json, " is no file that can be replaced");
  require(r.run.empty() || !r.films.empty(), "metrics: --run has no effect without --films");
}

LatentsOf latents_of(const std::string& run) {
  Config config;
  read_ini(fs::path(run) / "config.ini", settings_of(config));
  const std::shared_ptr<const VideoTokenizer> tokenizer =
      load_tokenizer(run, config, device_of(config.numerics, 0)).tokenizer;
  return [tokenizer](const at::Tensor& video) { return tokenizer->encode(video); };
}

Json json_of(const FilmQuality& q) {
  Json json = {
      {"frames", q.frames}, {"psnr_db", q.psnr_db}, {"psnr_grey_db", q.psnr_grey_db}, {"ssim", q.ssim}};
  if (q.latent_l2) json["latent_l2"] = *q.latent_l2;
  return json;
}

// Blank where there is no value.
void print_row(const std::string& name, const FilmQuality& q) {
  std::cout << left(name, 40) << right(std::to_string(q.frames), 8) << right(fixed(q.psnr_db, 3), 10)
            << right(fixed(q.psnr_grey_db, 3), 14) << right(fixed(q.ssim, 4), 9)
            << (q.latent_l2 ? right(fixed(*q.latent_l2, 5), 11) : "") << "\n";
}

void measure_films(const Request& r, Json& json) {
  CompareOptions options = r.compare;
  if (!r.run.empty()) options.latents = latents_of(r.run);
  const std::vector<FilmPair> pairs = pair_films(r.films, r.truth);
  check_pairs(pairs, options);
  std::cout << left("film", 40) << "  frames   psnr_db  psnr_grey_db     ssim"
            << (options.latents ? "  latent_l2" : "") << "\n";
  std::vector<FilmQuality> films;
  for (const FilmPair& pair : pairs) {
    films.push_back(compare_films(pair, options));
    print_row(pair.name, films.back());
    json["films"][pair.name] = json_of(films.back());
  }
  print_row(text_of("mean of ", films.size()), mean_of(films));
  json["mean"] = json_of(mean_of(films));
}

void measure_features(const Request& r, Json& json) {
  const Covariance covariance = r.distance == Distance::fid ? Covariance::unbiased : Covariance::biased;
  const at::Tensor ours = read_features(r.features, r.tensor);
  const at::Tensor theirs = read_features(r.true_features, r.tensor);
  const double distance =
      frechet_distance(feature_stats(ours, covariance), feature_stats(theirs, covariance));
  const std::string name(names_of(r.distance)[static_cast<size_t>(r.distance)]);
  std::cout << name << " " << distance << " (" << ours.size(0) << " against " << theirs.size(0)
            << " items of " << ours.size(1) << " features)\n";
  json[name] = distance;
}

}  // namespace

Exit run_metrics(const std::vector<std::string>& arguments) {
  Request request;
  const Settings settings = table_of(request);
  const Usage usage = {.command = "metrics",
                       .summary = "measures how close films are to the true ones of the same names.",
                       .notes =
                           "PSNR and SSIM are means over frames, of a film and then of the films; an equal "
                           "frame counts 99 dB.\nSSIM and grey PSNR are measured on OpenCV's grey. "
                           "Networks of features (I3D for FVD, Inception for\nFID) are not included."};
  if (parse_arguments(arguments, settings, usage).help) {
    std::cout << help_text(settings, usage);
    return Exit::done;
  }
  check(request);
  // Made before anything is measured, which may take long.
  std::optional<AtomicFile> file;
  if (!request.json.empty()) file.emplace(request.json);
  Json json = Json::object();
  if (!request.films.empty()) measure_films(request, json);
  if (!request.features.empty()) measure_features(request, json);
  if (file) {
    const std::string text = json.dump(2) + "\n";
    file->write(text.data(), text.size());
    file->publish();
  }
  return Exit::done;
}

}  // namespace orrery::cli
