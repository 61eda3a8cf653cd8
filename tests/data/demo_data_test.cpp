#include "data/demo_data.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <set>

#include "base/error.h"
#include "data/demo_measure.h"
#include "data/demo_render.h"
#include "media/decode.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

// A folder that is gone after the test.
class DemoData : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(testing::TempDir()) / ("orrery_demo_" + std::to_string(::getpid()));
    fs::remove_all(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  DemoDataOptions options(const std::string& name) const {
    DemoDataOptions o;
    o.out = root_ / name;
    o.clips = 5;
    o.held_out = 2;
    return o;
  }
  fs::path root_;
};

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::map<std::string, std::string> tree_of(const fs::path& root) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(root))
    if (entry.is_regular_file()) files[fs::relative(entry.path(), root)] = bytes_of(entry.path());
  return files;
}

class EpisodeFile {
 public:
  explicit EpisodeFile(const fs::path& path) : file_(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT)) {}
  ~EpisodeFile() { H5Fclose(file_); }
  EpisodeFile(const EpisodeFile&) = delete;
  EpisodeFile& operator=(const EpisodeFile&) = delete;

  std::vector<std::vector<double>> rows(const std::string& path) const {
    const hid_t set = H5Dopen2(file_, path.c_str(), H5P_DEFAULT), space = H5Dget_space(set);
    hsize_t shape[2] = {0, 1};
    H5Sget_simple_extent_dims(space, shape, nullptr);
    std::vector<double> flat(shape[0] * shape[1]);
    H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, flat.data());
    H5Sclose(space);
    H5Dclose(set);
    std::vector<std::vector<double>> rows;
    for (auto at = flat.begin(); at != flat.end(); at += static_cast<int64_t>(shape[1]))
      rows.emplace_back(at, at + static_cast<int64_t>(shape[1]));
    return rows;
  }

  std::vector<std::string> texts(const std::string& path) const {
    const hid_t set = H5Dopen2(file_, path.c_str(), H5P_DEFAULT), space = H5Dget_space(set),
                type = H5Dget_type(set);
    const auto count = static_cast<size_t>(H5Sget_simple_extent_npoints(space)), width = H5Tget_size(type);
    std::string flat(count * width, '?');
    if (count > 0) H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, flat.data());
    H5Tclose(type);
    H5Sclose(space);
    H5Dclose(set);
    std::vector<std::string> texts;
    for (size_t i = 0; i < count; ++i) texts.emplace_back(flat.substr(i * width, width).c_str());
    return texts;
  }

  double number(const std::string& object, const std::string& name) const {
    double value = -1;
    const hid_t attribute = H5Aopen_by_name(file_, object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT);
    H5Aread(attribute, H5T_NATIVE_DOUBLE, &value);
    H5Aclose(attribute);
    return value;
  }

  std::string text(const std::string& object, const std::string& name) const {
    const hid_t attribute = H5Aopen_by_name(file_, object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT);
    const hid_t type = H5Aget_type(attribute);
    char* value = nullptr;
    H5Aread(attribute, type, &value);
    const std::string text = value == nullptr ? "" : value;
    H5free_memory(value);
    H5Tclose(type);
    H5Aclose(attribute);
    return text;
  }

 private:
  hid_t file_;
};

DemoState state_of(const std::vector<double>& row) {
  return {row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8]};
}

}  // namespace

TEST_F(DemoData, writes_films_prompts_and_nothing_else) {
  const DemoDataOptions o = options("set");
  write_demo_data(o);
  std::set<std::string> expected = {"episodes.hdf5"};
  for (int64_t i = 0; i < 7; ++i) {
    const std::string folder = i < 5 ? "train" : "held_out", number = "000" + std::to_string(i);
    expected.insert(folder + "/videos/" + number + ".mp4");
    expected.insert(folder + "/metas/" + number + ".txt");
    EXPECT_EQ(bytes_of(o.out / folder / "metas" / (number + ".txt")), make_demo_clip(0, i, 17).prompt + "\n");
  }
  std::set<std::string> found;
  for (const auto& [name, bytes] : tree_of(o.out)) {
    EXPECT_FALSE(bytes.empty()) << name;
    found.insert(name);
  }
  EXPECT_EQ(found, expected);
  EXPECT_FALSE(fs::exists(o.out.string() + ".partial"));
}

TEST_F(DemoData, films_on_file_show_the_scene_and_obey_their_prompts) {
  const DemoDataOptions o = options("films");
  write_demo_data(o);
  for (int64_t i = 0; i < 7; ++i) {
    const DemoClip clip = make_demo_clip(0, i, 17);
    VideoFile file(o.out / (i < 5 ? "train" : "held_out") / "videos" / ("000" + std::to_string(i) + ".mp4"));
    ASSERT_EQ(file.frames(), 17);
    EXPECT_EQ(file.fps(), (Rational{10, 1}));
    const at::Tensor film = file.read(0, 17);
    const at::Tensor truth = render_demo(clip.scene, clip.episode.states, 64, 64);
    EXPECT_LT((film.to(at::kFloat) - truth.to(at::kFloat)).abs().mean().item<double>(), 5);
    EXPECT_TRUE(judge_demo(film, clip.task).obeyed) << clip.prompt;
  }
}

TEST_F(DemoData, same_seed_same_bytes_whatever_the_threads) {
  DemoDataOptions a = options("a"), b = options("b"), c = options("c");
  a.threads = 1;
  b.threads = 3;
  c.seed = 1;
  for (const auto& o : {a, b, c}) write_demo_data(o);
  const auto one = tree_of(a.out), three = tree_of(b.out);
  EXPECT_EQ(one.size(), three.size());
  for (const auto& [name, bytes] : one) EXPECT_TRUE(three.contains(name) && bytes == three.at(name)) << name;
  EXPECT_TRUE(one.at("train/videos/0000.mp4") != tree_of(c.out).at("train/videos/0000.mp4"));
}

TEST_F(DemoData, actions_on_file_replay_the_states_on_file) {
  for (const int64_t frames : {5, 17}) {
    DemoDataOptions o = options("replay" + std::to_string(frames));
    o.frames = frames;
    write_demo_data(o);
    const EpisodeFile file(o.out / "episodes.hdf5");
    const int64_t steps = demo_control_steps(frames);
    const double dt = kDemoSeconds / static_cast<double>((frames - 1) * steps);
    for (int64_t i = 0; i < 7; ++i) {
      const std::string demo = "/data/demo_" + std::to_string(i);
      DemoScene scene;
      scene.block_half = file.number(demo, "block_half");
      scene.block_x = file.number(demo, "block_x");
      scene.hand_x = file.number(demo, "hand_x");
      scene.hand_y = file.number(demo, "hand_y");
      DemoState state = demo_start(scene);
      const auto states = file.rows(demo + "/states"), actions = file.rows(demo + "/actions");
      const auto next_object = file.rows(demo + "/next_obs/object"), object = file.rows(demo + "/obs/object");
      ASSERT_EQ(std::ssize(states), frames);
      for (int64_t t = 0; t < frames; ++t) {
        EXPECT_EQ(state, state_of(states[t])) << demo << " frame " << t;
        for (int64_t k = 0; k < steps; ++k)
          state =
              demo_step(scene, state, {actions[t][3 * k], actions[t][3 * k + 1], actions[t][3 * k + 2]}, dt);
        EXPECT_EQ(next_object[t][0], state.x);
        if (t > 0) {
          EXPECT_EQ(object[t], next_object[t - 1]);
        }
      }
    }
  }
}

TEST_F(DemoData, robomimic_layout) {
  const DemoDataOptions o = options("layout");
  write_demo_data(o);
  const EpisodeFile file(o.out / "episodes.hdf5");
  EXPECT_EQ(file.number("/data", "total"), 7 * 17);
  EXPECT_NE(file.text("/data", "env_args").find("OrreryDemo"), std::string::npos);
  EXPECT_EQ(file.texts("/mask/train"),
            (std::vector<std::string>{"demo_0", "demo_1", "demo_2", "demo_3", "demo_4"}));
  EXPECT_EQ(file.texts("/mask/valid"), (std::vector<std::string>{"demo_5", "demo_6"}));
  EXPECT_EQ(file.texts("/mask/lift"), (std::vector<std::string>{"demo_2", "demo_5"}));
  EXPECT_EQ(file.number("/data/demo_3", "num_samples"), 17);
  EXPECT_EQ(file.text("/data/demo_3", "task_description"), make_demo_clip(0, 3, 17).prompt);
  EXPECT_EQ(file.text("/data/demo_6", "video"), "held_out/videos/0006.mp4");
  const auto rewards = file.rows("/data/demo_3/rewards"), dones = file.rows("/data/demo_3/dones");
  EXPECT_EQ(rewards.front()[0], 0);
  EXPECT_EQ(rewards.back()[0], 1);
  EXPECT_EQ(dones[15][0], 0);
  EXPECT_EQ(dones[16][0], 1);
  for (const char* name : {"robot0_joint_pos", "robot0_eef_pos", "robot0_gripper_qpos"}) {
    EXPECT_EQ(file.rows(std::string("/data/demo_0/obs/") + name).front().size(), 2u) << name;
  }
}

TEST_F(DemoData, no_held_out_clips_is_allowed) {
  DemoDataOptions o = options("small/");  // a slash at the end names the same folder
  o.clips = 1;
  o.held_out = 0;
  write_demo_data(o);
  EXPECT_TRUE(EpisodeFile(root_ / "small/episodes.hdf5").texts("/mask/valid").empty());
}

TEST_F(DemoData, leaves_what_is_there_alone) {
  DemoDataOptions o = options("taken");
  fs::create_directories(o.out);
  std::ofstream(o.out / "mine.txt") << "mine";
  EXPECT_THROW(write_demo_data(o), Error);
  EXPECT_EQ(tree_of(root_), (std::map<std::string, std::string>{{"taken/mine.txt", "mine"}}));
}

TEST_F(DemoData, an_interrupted_run_is_swept_away) {
  const DemoDataOptions o = options("again");
  fs::create_directories(o.out.string() + ".partial/train/videos");
  std::ofstream(o.out.string() + ".partial/train/videos/0999.mp4") << "half a film";
  write_demo_data(o);
  EXPECT_FALSE(fs::exists(o.out / "train/videos/0999.mp4"));
}

TEST_F(DemoData, a_failed_run_leaves_nothing) {
  fs::create_directories(root_);
  std::ofstream(root_ / "file") << "not a folder";
  EXPECT_ANY_THROW(write_demo_data(options("file/set")));
  EXPECT_EQ(tree_of(root_).size(), 1u);
}

TEST_F(DemoData, refuses_options_out_of_range) {
  const auto refuses = [&](auto&& change) {
    DemoDataOptions o = options("bad");
    change(o);
    EXPECT_THROW(write_demo_data(o), Error);
    EXPECT_FALSE(fs::exists(root_));
  };
  refuses([](DemoDataOptions& o) { o.clips = 0; });
  refuses([](DemoDataOptions& o) { o.clips = int64_t{1} << 60; });
  refuses([](DemoDataOptions& o) { o.held_out = -1; });
  refuses([](DemoDataOptions& o) { o.frames = 1; });
  refuses([](DemoDataOptions& o) { o.height = 15; });
  refuses([](DemoDataOptions& o) { o.width = 1 << 20; });
  refuses([](DemoDataOptions& o) { o.frames = 10000, o.height = 4096, o.width = 4096; });
  refuses([](DemoDataOptions& o) { o.threads = -1; });
  refuses([](DemoDataOptions& o) { o.out = ""; });
}

}  // namespace orrery
