#pragma once
// What films to make: the samples that users of Cosmos-Predict2.5 describe in JSON. Read by the generate
// command; every mistake in every file is found before anything is loaded.
//
//   NAME.json    one object, a sample; or the older form {"inference_type": ..., "samples": {NAME: {...}}}
//   NAME.jsonl   one object a line
//
// Fields, defaults and meaning are those of the reference; docs/generate.md has the table. Paths are relative
// to the file. Source: cosmos-predict2.5, cosmos_predict2/config.py.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "infer/lined_json.h"

namespace orrery {

// The reference's constant: what films are steered away from unless a sample says otherwise.
extern const std::string_view kDefaultNegativePrompt;

enum class InferenceType { text2world, image2world, video2world };

struct FilmRequest {
  std::string name;  // of its outputs; unique
  InferenceType type = InferenceType::text2world;
  std::string prompt;
  std::filesystem::path input_path;  // image or film with the given frames; absolute, or empty
  std::string negative_prompt = std::string(kDefaultNegativePrompt);
  int64_t seed = 0;
  int64_t guidance = 7;
  int64_t height = 0, width = 0;  // of the film; 0: the model's
  int64_t num_steps = 35;
  bool enable_autoregressive = false;
  int64_t num_output_frames = 77, chunk_size = 77, chunk_overlap = 1;  // read with enable_autoregressive only
  std::string where;                                                   // "prompts.jsonl:3"

  int64_t given() const { return static_cast<int64_t>(type); }  // latent frames taken from input_path
};

// The request as the reference writes it beside its film, which reads back as the same request.
nlohmann::ordered_json json_of(const FilmRequest& request);

// What the model at hand can make.
struct FilmLimits {
  int64_t frames = 93, height = 704, width = 1280;  // of its clips
  int64_t size_multiple = 16;                       // heights and widths are multiples of this
  int64_t max_height = 1920, max_width = 1920;
  int64_t num_generations = 1;  // films a sample, with seeds that count up from its own
};

// A field of all samples, given on the command line: it wins over the files, and its paths are relative to
// the current folder. value: as written there.
struct FieldOverride {
  std::string field, value;
};
std::vector<std::string_view> override_fields();  // all but name
std::string_view help_of(std::string_view field);

struct RequestList {
  std::vector<FilmRequest> requests;  // those that are right, in the files' order
  std::vector<std::string> problems;  // all that is wrong: "FILE:LINE: FIELD: what"
};
RequestList read_requests(const std::vector<std::filesystem::path>& files,
                          const std::vector<FieldOverride>& overrides, const FilmLimits& limits);

// Throws Error with all of them, a line each, if there are any.
void require_no_problems(const std::vector<std::string>& problems);

// NAME, or NAME_seedSEED where a sample has several films.
std::string film_stem(const FilmRequest& request, int64_t generation, int64_t num_generations);

}  // namespace orrery
