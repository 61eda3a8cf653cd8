#include "infer/request_fields.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "base/error.h"
#include "data/caption.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxFrames = 1 << 20;  // 18 hours at 16 frames a second
constexpr int64_t kMaxSteps = 10000;
constexpr int64_t kMaxSize = 1 << 14;

constexpr std::array<std::string_view, 3> kTypes = {"text2world", "image2world", "video2world"};

[[noreturn]] void wrong(const LinedJson& got, const std::string& wanted) {
  const std::string text = got.value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  fail("got ", shortened(text), ", wanted ", wanted);
}

std::string string_of(const LinedJson& value, const std::string& wanted) {
  if (!value.value.is_string()) wrong(value, wanted);
  return value.value.get<std::string>();
}

int64_t integer_of(const LinedJson& value, int64_t least, int64_t most) {
  const std::string wanted = text_of("a whole number from ", least, " to ", most);
  const auto& v = value.value;
  if (!v.is_number_integer()) wrong(value, wanted);
  if (v.is_number_unsigned() && v.get<uint64_t>() > static_cast<uint64_t>(most)) wrong(value, wanted);
  const int64_t number = v.get<int64_t>();
  if (number < least || number > most) wrong(value, wanted);
  return number;
}

bool bool_of(const LinedJson& value) {
  if (!value.value.is_boolean()) wrong(value, "true or false");
  return value.value.get<bool>();
}

fs::path path_of(const FieldSource& source) {
  const std::string text = string_of(source.value, "a path");
  if (text.empty() || text.find('\0') != std::string::npos) wrong(source.value, "a path");
  return (source.folder / text).lexically_normal();
}

// Outputs are called NAME.mp4 and so on: a name is one component of a path.
void read_name(const FieldSource& s, FilmRequest& r) {
  constexpr size_t kMaxBytes = 200;
  const std::string wanted = text_of("a file's name without ending, up to ", kMaxBytes, " bytes");
  const std::string name = string_of(s.value, wanted);
  const auto is_bad = [](char c) { return c == '/' || static_cast<unsigned char>(c) < 32 || c == 127; };
  if (name.empty() || name.front() == '.' || name.size() > kMaxBytes ||
      std::any_of(name.begin(), name.end(), is_bad))
    wrong(s.value, wanted);
  r.name = name;
}

void read_type(const FieldSource& s, FilmRequest& r) {
  const std::string wanted = "text2world, image2world or video2world";
  const auto found = std::find(kTypes.begin(), kTypes.end(), string_of(s.value, wanted));
  if (found == kTypes.end()) wrong(s.value, wanted);
  r.type = static_cast<InferenceType>(found - kTypes.begin());
}

void read_resolution(const FieldSource& s, FilmRequest& r) {
  const std::string wanted = "\"HEIGHT,WIDTH\" or \"none\" for the model's";
  const std::string text = string_of(s.value, wanted);
  if (text == "none") {
    r.height = r.width = 0;
    return;
  }
  const size_t comma = text.find(',');
  const auto number = [&](std::string_view part) {
    while (part.starts_with(' ')) part.remove_prefix(1);
    int64_t n = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), n);
    if (error != std::errc() || end != part.data() + part.size() || n < 1 || n > kMaxSize)
      wrong(s.value, wanted);
    return n;
  };
  if (comma == std::string::npos) wrong(s.value, wanted);
  r.height = number(std::string_view(text).substr(0, comma));
  r.width = number(std::string_view(text).substr(comma + 1));
}

void require_file(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) fail(path.string(), " is no file");
}

void read_prompt(const FieldSource& s, FilmRequest& r) {
  if (!s.value.value.is_null()) r.prompt = string_of(s.value, "text");
}

void read_prompt_path(const FieldSource& s, FilmRequest& r) {
  if (s.value.value.is_null()) return;
  const fs::path path = path_of(s);
  require_file(path);
  r.prompt = read_caption(path);
}

void read_input_path(const FieldSource& s, FilmRequest& r) {
  if (s.value.value.is_null()) return;
  r.input_path = path_of(s);
  require_file(r.input_path);
}

constexpr auto kFields = std::to_array<RequestField>({
    {"name", read_name, "of the outputs"},
    {"inference_type", read_type, "text2world, image2world or video2world: 0, 1 or 2 given latent frames"},
    {"prompt", read_prompt, "what shall happen"},
    {"prompt_path", read_prompt_path, "text file with the prompt; a prompt wins over it"},
    {"input_path", read_input_path, "image or film whose last frames are given (.png .jpg .jpeg .webp .mp4)"},
    {"negative_prompt",
     [](const FieldSource& s, FilmRequest& r) { r.negative_prompt = string_of(s.value, "text"); },
     "what to steer away from"},
    {"seed",
     [](const FieldSource& s, FilmRequest& r) {
       r.seed = integer_of(s.value, 0, std::numeric_limits<uint32_t>::max());
     },
     "of the initial noise"},
    {"guidance", [](const FieldSource& s, FilmRequest& r) { r.guidance = integer_of(s.value, 0, 7); },
     "0 to 7: how closely the film follows the prompt"},
    {"resolution", read_resolution, "\"HEIGHT,WIDTH\", or \"none\" for the model's"},
    {"num_output_frames",
     [](const FieldSource& s, FilmRequest& r) { r.num_output_frames = integer_of(s.value, 1, kMaxFrames); },
     "length of a film made by autoregression"},
    {"num_steps",
     [](const FieldSource& s, FilmRequest& r) { r.num_steps = integer_of(s.value, 1, kMaxSteps); },
     "steps of the sampler"},
    {"enable_autoregressive",
     [](const FieldSource& s, FilmRequest& r) { r.enable_autoregressive = bool_of(s.value); },
     "go on from the last frames, chunk by chunk, to num_output_frames"},
    {"chunk_size",
     [](const FieldSource& s, FilmRequest& r) { r.chunk_size = integer_of(s.value, 1, kMaxFrames); },
     "frames of a chunk"},
    {"chunk_overlap",
     [](const FieldSource& s, FilmRequest& r) { r.chunk_overlap = integer_of(s.value, 0, kMaxFrames); },
     "frames that a chunk takes over from the one before: 0, or 4 n + 1"},
});

}  // namespace

std::span<const RequestField> request_fields() {
  return kFields;
}

const RequestField* find_request_field(std::string_view name) {
  const auto found =
      std::find_if(kFields.begin(), kFields.end(), [&](const RequestField& f) { return f.name == name; });
  return found == kFields.end() ? nullptr : &*found;
}

std::string_view name_of(InferenceType type) {
  return kTypes[static_cast<size_t>(type)];
}

std::vector<std::string_view> override_fields() {
  std::vector<std::string_view> names;
  for (const RequestField& field : kFields)
    if (field.name != "name") names.push_back(field.name);
  return names;
}

std::string_view help_of(std::string_view field) {
  return find_request_field(field)->help;
}

nlohmann::ordered_json json_of(const FilmRequest& r) {
  nlohmann::ordered_json j;
  j["name"] = r.name;
  j["prompt"] = r.prompt;
  j["negative_prompt"] = r.negative_prompt;
  j["seed"] = r.seed;
  j["guidance"] = r.guidance;
  j["inference_type"] = name_of(r.type);
  j["input_path"] =
      r.input_path.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(r.input_path.string());
  j["resolution"] = r.height == 0 ? "none" : text_of(r.height, ",", r.width);
  j["num_output_frames"] = r.num_output_frames;
  j["num_steps"] = r.num_steps;
  j["enable_autoregressive"] = r.enable_autoregressive;
  j["chunk_size"] = r.chunk_size;
  j["chunk_overlap"] = r.chunk_overlap;
  return j;
}

}  // namespace orrery
