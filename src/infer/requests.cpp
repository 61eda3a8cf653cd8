#include "infer/requests.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <limits>
#include <map>
#include <set>

#include "base/error.h"
#include "data/caption.h"
#include "infer/condition_clip.h"
#include "infer/continuation.h"
#include "infer/request_fields.h"
#include "media/decode.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

constexpr uintmax_t kMaxFileBytes = uintmax_t{1} << 28;

struct Place {
  std::string file;
  int64_t line = 0;
};
std::string text_of_place(const Place& at) {
  return at.line > 0 ? text_of(at.file, ":", at.line) : at.file;
}

// A sample as a file has it, and where it stands.
struct Row {
  Place at;
  fs::path folder;
  std::vector<const JsonMember*> fields = {};
  int64_t default_seed = 0;  // of the older form: 1
};

class Reader {
 public:
  Reader(const std::vector<FieldOverride>& overrides, const FilmLimits& limits) : limits_(limits) {
    for (const FieldOverride& o : overrides) add_override(o);
  }

  void read_file(const fs::path& path) {
    std::string text;
    try {
      text = load(path);
    } catch (const Error& error) {
      return problem({path.string(), 0}, error.what());
    }
    if (path.extension() == ".jsonl")
      read_lines(path, text);
    else
      read_whole(path, text);
  }

  RequestList finish() && {
    if (problems_.empty() && requests_.empty()) problems_.push_back("no samples in the files");
    return {std::move(requests_), std::move(problems_)};
  }

 private:
  static std::string load(const fs::path& path) {
    require(path.extension() == ".json" || path.extension() == ".jsonl", "wanted a file .json or .jsonl");
    std::error_code error;
    require(fs::is_regular_file(path, error), "no such file");
    const uintmax_t bytes = fs::file_size(path, error);
    require(!error && bytes <= kMaxFileBytes, "file of ", bytes, " bytes, at most ", kMaxFileBytes);
    std::ifstream in(path, std::ios::binary);
    require(in.good(), "cannot be read");
    return {std::istreambuf_iterator<char>(in), {}};
  }

  void problem(const Place& at, const std::string& what) {
    problems_.push_back(text_of_place(at) + ": " + what);
  }

  // Reads it into a sample that nobody uses, so that a wrong flag is told once.
  void add_override(const FieldOverride& o) {
    const std::string flag = "--" + o.field;
    const RequestField* const field = find_request_field(o.field);
    require(field != nullptr && o.field != "name", flag, " is no field of all samples");
    try {
      overrides_.push_back({field, override_value(*field, o.value)});
    } catch (const Error& error) {
      problem({flag, 0}, error.what());
    }
  }

  // Text where the field takes text, else the number, or the true or false, that the text means.
  static LinedJson override_value(const RequestField& field, const std::string& text) {
    require(is_utf8(text), "got text that is not UTF-8");
    FilmRequest scratch;
    LinedJson value{text};
    const auto parsed = nlohmann::json::parse(text, nullptr, false);
    try {
      field.read({value, fs::current_path()}, scratch);
    } catch (const Error&) {
      if (!parsed.is_number() && !parsed.is_boolean()) throw;
      value.value = parsed;
      field.read({value, fs::current_path()}, scratch);
    }
    return value;
  }

  void read_lines(const fs::path& path, std::string_view text) {
    int64_t line = 0;
    while (!text.empty()) {
      ++line;
      const size_t end = text.find('\n');
      std::string_view row = text.substr(0, end);
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
      if (row.find_first_not_of(" \t\r") == std::string_view::npos) continue;
      if (const auto object = parse(path, row, line)) read_sample(*object, path);
    }
  }

  void read_whole(const fs::path& path, std::string_view text) {
    const auto object = parse(path, text, 1);
    if (!object) return;
    const auto is_samples = [](const JsonMember& m) { return m.key == "samples"; };
    if (std::any_of(object->members.begin(), object->members.end(), is_samples))
      read_older_form(*object, path);
    else
      read_sample(*object, path);
  }

  std::optional<LinedJson> parse(const fs::path& path, std::string_view text, int64_t line) {
    try {
      LinedJson object = parse_lined_json(text, line);
      if (object.is_object()) return object;
      problem({path.string(), line}, "wanted an object {...} with the fields of a sample");
    } catch (const JsonProblem& p) {
      problem({path.string(), p.line}, p.what);
    }
    return {};
  }

  void read_sample(const LinedJson& object, const fs::path& path) {
    Row row{{path.string(), object.line}, folder_of(path)};
    for (const JsonMember& m : object.members) row.fields.push_back(&m);
    read_row(row, nullptr);
  }

  // {"inference_type": ..., "samples": {NAME: {"prompt": ..., "input_path": ...}}, "seed": ...}
  void read_older_form(const LinedJson& object, const fs::path& path) {
    static const std::set<std::string_view> of_all = {"inference_type", "negative_prompt",   "seed",
                                                      "guidance",       "num_output_frames", "resolution"};
    static const std::set<std::string_view> of_one = {"prompt", "prompt_path", "input_path"};
    std::vector<const JsonMember*> common;
    const LinedJson* samples = nullptr;
    const auto known = [&](const JsonMember& m, const auto& names, std::string_view where) {
      if (names.count(m.key) > 0) return true;
      problem({path.string(), m.value.line}, text_of(m.key, ": no such field of ", where));
      return false;
    };
    for (const JsonMember& m : object.members) {
      if (m.key == "samples")
        samples = &m.value;
      else if (known(m, of_all, "a file with samples"))
        common.push_back(&m);
    }
    if (!samples->is_object())
      return problem({path.string(), samples->line}, "samples: wanted an object NAME: {...}");
    for (const JsonMember& sample : samples->members) {
      Row row{{path.string(), sample.value.line}, folder_of(path), common, 1};
      if (!sample.value.is_object())
        problem(row.at, text_of("sample \"", sample.key, "\": wanted an object {...}"));
      for (const JsonMember& m : sample.value.members)
        if (known(m, of_one, "a sample")) row.fields.push_back(&m);
      const JsonMember name{"name", {sample.key, row.at.line}};
      read_row(row, &name);
    }
  }

  static fs::path folder_of(const fs::path& path) { return fs::absolute(path).parent_path(); }

  bool is_overridden(std::string_view key) const {
    const auto same = [&](const auto& o) {
      // A prompt of whatever kind stands for both.
      return o.first->name == key || (key == "prompt" && o.first->name == "prompt_path");
    };
    return std::any_of(overrides_.begin(), overrides_.end(), same);
  }

  void read_row(Row& row, const JsonMember* name) {
    FilmRequest request;
    request.seed = row.default_seed;
    request.where = text_of_place(row.at);
    if (name != nullptr) row.fields.push_back(name);
    // The file that a prompt_path names is read first, so that a prompt wins.
    std::stable_partition(row.fields.begin(), row.fields.end(),
                          [](const JsonMember* m) { return m->key == "prompt_path"; });
    const size_t before = problems_.size();
    std::set<std::string_view> seen;
    for (const JsonMember* m : row.fields) {
      if (!is_overridden(m->key)) read_field(row, *m, request);
      if (!m->value.value.is_null()) seen.insert(m->key);
    }
    for (const auto& [field, value] : overrides_) {
      field->read({value, fs::current_path()}, request);
      seen.insert(field->name);
    }
    check_presence(row, seen, request);
    if (problems_.size() == before) check_together(row, request);
    if (seen.count("name") > 0) check_unique(row, request);
    if (problems_.size() == before) requests_.push_back(std::move(request));
  }

  void read_field(const Row& row, const JsonMember& m, FilmRequest& request) {
    const Place at{row.at.file, m.value.line};
    const RequestField* const field = find_request_field(m.key);
    if (field == nullptr) return problem(at, m.key + ": no such field" + near_miss(m.key));
    try {
      field->read({m.value, row.folder}, request);
    } catch (const Error& error) {
      problem(at, m.key + ": " + error.what());
    }
  }

  static std::string near_miss(const std::string& key) {
    const auto plain = [](std::string_view text) {
      std::string out;
      for (const char c : text)
        if (std::isalpha(static_cast<unsigned char>(c)) != 0)
          out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      return out;
    };
    std::string known;
    for (const RequestField& field : request_fields()) {
      if (plain(field.name) == plain(key)) return "; did you mean " + std::string(field.name);
      known += (known.empty() ? "" : ", ") + std::string(field.name);
    }
    return "; known are " + known;
  }

  void check_presence(const Row& row, const std::set<std::string_view>& seen, const FilmRequest& request) {
    for (const std::string_view needed : {"name", "inference_type"})
      if (seen.count(needed) == 0) problem(row.at, std::string(needed) + ": is missing");
    if (seen.count("prompt") == 0 && seen.count("prompt_path") == 0)
      problem(row.at, "prompt: is missing, and so is prompt_path");
    if (seen.count("inference_type") > 0 && request.given() > 0 && seen.count("input_path") == 0)
      problem(row.at, text_of("input_path: is missing, ", name_of(request.type), " wants one"));
  }

  // Values that are right one by one but do not fit each other or the model.
  void check_together(const Row& row, const FilmRequest& r) {
    const auto need = [&](bool holds, const auto&... parts) {
      if (!holds) problem(row.at, text_of(parts...));
    };
    if (r.given() > 0)
      need(has_image_extension(r.input_path) || lower(r.input_path.extension().string()) == ".mp4",
           "input_path: ", r.input_path.string(), " is neither .png, .jpg, .jpeg, .webp nor .mp4");
    const int64_t pixels = given_pixels(r.given());
    need(limits_.frames == 1 ? r.given() == 0 : pixels <= limits_.frames, "inference_type: ", name_of(r.type),
         " is given ", pixels, " frames, the model's clips have ", limits_.frames);
    const int64_t m = limits_.size_multiple;
    need(r.height % m == 0 && r.width % m == 0, "resolution: got ", r.height, ",", r.width,
         ", wanted multiples of ", m);
    need(r.height <= limits_.max_height && r.width <= limits_.max_width, "resolution: got ", r.height, ",",
         r.width, ", the model makes up to ", limits_.max_height, ",", limits_.max_width);
    const size_t before = problems_.size();
    if (r.enable_autoregressive) check_chunks(row, r);
    if (problems_.size() == before) check_seeds(row, r);
  }

  // Of each film, and of each chunk of it; the chunks are in order.
  void check_seeds(const Row& row, const FilmRequest& r) {
    constexpr int64_t kMaxSeed = std::numeric_limits<uint32_t>::max();
    const auto chunks = static_cast<int64_t>(film_chunks(r, r.seed, limits_.frames).size());
    const int64_t more = limits_.num_generations - 1 + chunks - 1;
    if (r.seed + more > kMaxSeed)
      problem(row.at,
              text_of("seed: ", r.seed, " and the ", more,
                      " after it, of further films and of the chunks of a long one, go beyond ", kMaxSeed));
  }

  void check_chunks(const Row& row, const FilmRequest& r) {
    const auto need = [&](bool holds, const auto&... parts) {
      if (!holds) problem(row.at, text_of(parts...));
    };
    need(r.chunk_size <= limits_.frames, "chunk_size: got ", r.chunk_size, ", the model's clips have ",
         limits_.frames, " frames");
    need(r.chunk_size >= given_pixels(r.given()), "chunk_size: got ", r.chunk_size, ", ", name_of(r.type),
         " is given ", given_pixels(r.given()), " frames");
    need(r.chunk_overlap == 0 || r.chunk_overlap % 4 == 1, "chunk_overlap: got ", r.chunk_overlap,
         ", wanted 0 or 4 n + 1, which are whole latent frames");
    need(r.chunk_overlap < r.chunk_size, "chunk_overlap: got ", r.chunk_overlap,
         ", wanted less than chunk_size, ", r.chunk_size);
  }

  static std::string lower(std::string text) {
    for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return text;
  }

  // Names, and what the outputs will be called.
  void check_unique(const Row& row, const FilmRequest& request) {
    std::set<std::string> stems = {request.name};
    for (int64_t k = 0; k < limits_.num_generations; ++k)
      stems.insert(film_stem(request, k, limits_.num_generations));
    for (const std::string& stem : stems) {
      const auto [first, is_new] = outputs_.emplace(stem, request.where);
      if (!is_new) return problem(row.at, text_of("name: \"", stem, "\" is taken, by ", first->second));
    }
  }

  const FilmLimits& limits_;
  std::vector<std::pair<const RequestField*, LinedJson>> overrides_;
  std::vector<FilmRequest> requests_;
  std::vector<std::string> problems_;
  std::map<std::string, std::string> outputs_;  // who writes it
};

}  // namespace

RequestList read_requests(const std::vector<fs::path>& files, const std::vector<FieldOverride>& overrides,
                          const FilmLimits& limits) {
  Reader reader(overrides, limits);
  for (const fs::path& file : files) reader.read_file(file);
  return std::move(reader).finish();
}

void require_no_problems(const std::vector<std::string>& problems) {
  std::string all = text_of("the samples cannot be made: ", problems.size(),
                            problems.size() == 1 ? " problem" : " problems");
  for (const std::string& line : problems) all += "\n  " + line;
  require(problems.empty(), all);
}

std::string film_stem(const FilmRequest& request, int64_t generation, int64_t num_generations) {
  return num_generations == 1 ? request.name : text_of(request.name, "_seed", request.seed + generation);
}

}  // namespace orrery
