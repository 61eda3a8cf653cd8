#include "data/demo_data.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <atomic>
#include <exception>
#include <fstream>
#include <iomanip>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/rng.h"
#include "data/demo_render.h"
#include "data/hdf5_writer.h"
#include "media/encode.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;
constexpr std::array<std::string_view, kDemoVerbs> kVerbNames = {"push_left", "push_right", "lift"};
constexpr int64_t kMaxClips = 1'000'000, kMaxFrames = 10'000, kMaxFilmBytes = int64_t{1} << 31;

void check_options(const DemoDataOptions& o) {
  const auto within = [](const char* name, int64_t value, int64_t least, int64_t most) {
    require(value >= least && value <= most, "demo-data: ", name, " is ", value, ", wanted ", least, " to ",
            most);
  };
  require(!o.out.empty(), "demo-data: no folder to write to");
  within("clips", o.clips, 1, kMaxClips);
  within("held-out", o.held_out, 0, kMaxClips);
  within("frames", o.frames, 2, kMaxFrames);
  within("height", o.height, 16, 4096);
  within("width", o.width, 16, 4096);
  within("threads", o.threads, 0, 1024);
  within("seed", o.seed, 0, INT64_MAX);
  require(o.frames * o.height * o.width * 3 <= kMaxFilmBytes, "demo-data: a film of ", o.frames, " x ",
          o.height, " x ", o.width, " takes more than ", kMaxFilmBytes, " bytes");
  require(!fs::exists(o.out) || (fs::is_directory(o.out) && fs::is_empty(o.out)), "demo-data: ", o.out,
          " exists and is not an empty folder (remove it, or choose another)");
}

std::string number_of(int64_t clip) {
  std::ostringstream name;
  name << std::setw(4) << std::setfill('0') << clip;
  return name.str();
}

const char* folder_of(const DemoDataOptions& o, int64_t clip) {
  return clip < o.clips ? "train" : "held_out";
}

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text << '\n';
  file.close();
  require(!file.fail(), path, ": cannot be written (disk full?)");
}

void write_film(const DemoDataOptions& o, const fs::path& root, int64_t clip) {
  const DemoClip made = make_demo_clip(o.seed, clip, o.frames);
  const fs::path folder = root / folder_of(o, clip);
  static_assert(kDemoSeconds == 8.0 / 5);
  Mp4Options encoding;
  encoding.fps = {static_cast<int>(5 * (o.frames - 1)), 8};  // F - 1 frames in kDemoSeconds
  write_mp4(folder / "videos" / (number_of(clip) + ".mp4"),
            render_demo(made.scene, made.episode.states, o.height, o.width), encoding);
  write_text(folder / "metas" / (number_of(clip) + ".txt"), made.prompt);
}

void write_films(const DemoDataOptions& o, const fs::path& root) {
  std::atomic<int64_t> next = 0;
  std::exception_ptr failure;
  std::mutex mutex;
  const int64_t total = o.clips + o.held_out;
  const auto work = [&] {
    const c10::InferenceMode guard;
    try {
      for (int64_t clip = next++; clip < total; clip = next++) write_film(o, root, clip);
    } catch (...) {
      next = total;
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  const int64_t cores = std::max<int64_t>(1, std::thread::hardware_concurrency());
  std::vector<std::jthread> threads(std::min(total, o.threads > 0 ? o.threads : cores));
  for (std::jthread& thread : threads) thread = std::jthread(work);
  threads.clear();  // joins
  if (failure) std::rethrow_exception(failure);
}

// [F, width] from a function that gives the row of a state.
template <class Row>
at::Tensor table(const std::vector<DemoState>& states, const Row& row_of) {
  const auto width = static_cast<int64_t>(row_of(states.front()).size());
  at::Tensor values = at::empty({std::ssize(states), width}, at::kDouble);
  double* out = values.mutable_data_ptr<double>();
  for (const DemoState& state : states) out = std::ranges::copy(row_of(state), out).out;
  return values;
}

void write_observations(Hdf5Writer& file, const std::string& group, const DemoScene& scene,
                        const std::vector<DemoState>& states) {
  const auto write = [&](const char* name, const auto& row_of) {
    file.dataset(group + name, table(states, row_of));
  };
  write("/robot0_joint_pos", [](const DemoState& s) { return std::array{s.shoulder, s.elbow}; });
  write("/robot0_eef_pos", [](const DemoState& s) {
    const DemoPoint tip = demo_arm(s).tip;
    return std::array{tip.x, tip.y};
  });
  write("/robot0_gripper_qpos", [](const DemoState& s) { return std::array{s.gap, -s.gap}; });
  write("/object", [&](const DemoState& s) { return std::array{s.x, s.y, s.vx, s.vy, scene.block_half}; });
}

void write_steps(Hdf5Writer& file, const std::string& group, const DemoClip& clip) {
  const auto frames = std::ssize(clip.episode.states), steps = std::ssize(clip.episode.actions.front());
  std::vector<DemoState> next(clip.episode.states.begin() + 1, clip.episode.states.end());
  next.push_back(clip.episode.after);
  at::Tensor actions = at::empty({frames, 3 * steps}, at::kDouble);
  double* out = actions.mutable_data_ptr<double>();
  for (const auto& frame : clip.episode.actions)
    for (const DemoAction& action : frame) out = std::ranges::copy(action, out).out;
  at::Tensor rewards = at::zeros({frames}, at::kDouble), dones = at::zeros({frames}, at::kLong);
  for (int64_t t = 0; t < frames; ++t)
    rewards.mutable_data_ptr<double>()[t] = demo_done(clip.scene, clip.task, next[t]);
  dones.mutable_data_ptr<int64_t>()[frames - 1] = 1;
  file.dataset(group + "/actions", actions);
  file.dataset(group + "/states", table(clip.episode.states, [](const DemoState& s) {
                 return std::array{s.time, s.shoulder, s.elbow, s.gap, s.x, s.y, s.vx, s.vy, s.held};
               }));
  file.dataset(group + "/rewards", rewards);
  file.dataset(group + "/dones", dones);
  write_observations(file, group + "/obs", clip.scene, clip.episode.states);
  write_observations(file, group + "/next_obs", clip.scene, next);
}

void write_clip_attributes(Hdf5Writer& file, const std::string& group, const DemoClip& clip) {
  const DemoState& last = clip.episode.states.back();
  file.attribute(group, "num_samples", static_cast<int64_t>(clip.episode.states.size()));
  file.attribute(group, "task_description", clip.prompt);
  file.attribute(group, "success", demo_done(clip.scene, clip.task, last));
  file.attribute(group, "verb", std::string(kVerbNames[static_cast<size_t>(clip.task.verb)]));
  file.attribute(group, "block_color", std::string(demo_colors()[clip.task.color].name));
  file.attribute(group, "table", clip.scene.table);
  file.attribute(group, "wall", clip.scene.wall);
  file.attribute(group, "block_half", clip.scene.block_half);
  file.attribute(group, "block_x", clip.scene.block_x);
  file.attribute(group, "hand_x", clip.scene.hand_x);
  file.attribute(group, "hand_y", clip.scene.hand_y);
}

void write_episodes(const DemoDataOptions& o, const fs::path& path) {
  Hdf5Writer file(path);
  std::map<std::string, std::vector<std::string>> masks = {{"train", {}}, {"valid", {}}};
  for (int64_t i = 0; i < o.clips + o.held_out; ++i) {
    const DemoClip clip = make_demo_clip(o.seed, i, o.frames);
    const std::string name = "demo_" + std::to_string(i), group = "/data/" + name;
    write_steps(file, group, clip);
    write_clip_attributes(file, group, clip);
    file.attribute(group, "seed", o.seed);
    file.attribute(group, "video", folder_of(o, i) + ("/videos/" + number_of(i)) + ".mp4");
    masks[i < o.clips ? "train" : "valid"].push_back(name);
    masks[std::string(kVerbNames[static_cast<size_t>(clip.task.verb)])].push_back(name);
  }
  for (const auto& [name, demos] : masks) file.dataset("/mask/" + name, demos);
  const int64_t steps = demo_control_steps(o.frames);
  const nlohmann::json env = {{"env_name", "OrreryDemo"},
                              {"env_kwargs",
                               {{"frames", o.frames},
                                {"seconds", kDemoSeconds},
                                {"control_steps", steps},
                                {"camera_heights", o.height},
                                {"camera_widths", o.width}}}};
  file.attribute("/data", "total", (o.clips + o.held_out) * o.frames);
  file.attribute("/data", "env_args", env.dump());
  file.close();
}

// A folder that is gone with this object, unless it has been renamed.
class WorkFolder {
 public:
  explicit WorkFolder(fs::path path) : path(std::move(path)) { fs::remove_all(this->path); }
  ~WorkFolder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  const fs::path path;
};

}  // namespace

DemoClip make_demo_clip(int64_t seed, int64_t clip, int64_t frames) {
  const auto key = static_cast<uint64_t>(seed), index = static_cast<uint64_t>(clip);
  DemoClip made;
  made.scene = draw_demo_scene(key, index);
  made.task = {made.scene.color, DemoVerb(clip % kDemoVerbs)};
  made.prompt = demo_prompt(made.task, Rng(key, "demo-wording", {index}).next());
  made.episode = simulate_demo(made.scene, made.task, frames);
  return made;
}

void write_demo_data(const DemoDataOptions& options) {
  check_options(options);
  fs::path out = fs::absolute(options.out).lexically_normal();
  if (!out.has_filename()) out = out.parent_path();  // "demo/" is "demo"
  const WorkFolder partial(out.string() + ".partial");
  for (const char* folder : {"train", "held_out"})
    for (const char* kind : {"videos", "metas"}) fs::create_directories(partial.path / folder / kind);
  write_films(options, partial.path);
  write_episodes(options, partial.path / "episodes.hdf5");
  fs::rename(partial.path, out);
}

}  // namespace orrery
