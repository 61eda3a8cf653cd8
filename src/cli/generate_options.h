#pragma once
// What `orrery generate` is asked for: its own options, the samples' fields among them, and the settings of
// the model.
#include "cli/options.h"
#include "infer/requests.h"

namespace orrery::cli {

struct GenerateOptions {
  std::string run, checkpoint, model;  // where the weights and their settings are
  std::string out;
  // Films of samples
  std::vector<std::filesystem::path> inputs;  // -i
  std::vector<FieldOverride> overrides;
  int64_t num_generations = 1, context_parallel_size = 1;
  bool cfg_parallel = false, resume = false, keep_going = true;
  // One film
  std::string image, film, prompt;
  // Figures
  std::string evaluate;
  int64_t clips = 16;

  std::filesystem::path weights;  // checkpoint, or the run's newest
  bool help = false;
};

// Parses them: the model's settings first (of the run, of the checkpoint, or of a released model), on top of
// them what is given. Throws Error for options that do not fit together and settings without effect.
GenerateOptions parse_generate(const std::vector<std::string>& arguments, Config& config);
std::string generate_help();

// The settings on which films depend, as text; of files not where they lie.
std::string film_settings(Config& config);

}  // namespace orrery::cli
