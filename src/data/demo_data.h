#pragma once
// Writes a set of demonstrations: films, prompts, states and actions of the scene in demo_scene.h. Called by
// `orrery demo-data`, the quick start and tests.
#include <ATen/core/Tensor.h>

#include <filesystem>

#include "data/demo_scene.h"

namespace orrery {

struct DemoDataOptions {
  std::filesystem::path out;  // new, or an empty folder
  int64_t clips = 1600;       // to train on
  int64_t held_out = 64;      // to measure on
  int64_t frames = 17;        // of a clip, at least 2; every clip lasts kDemoSeconds
  int64_t height = 64;        // rows
  int64_t width = 64;         // columns
  int64_t seed = 0;           // the same seed gives the same bytes, whatever the number of threads
  int64_t threads = 0;        // 0: one a core
};

// out/train/videos/NNNN.mp4     films of clips 0 to clips - 1, out/train/metas/NNNN.txt their prompts
// out/held_out/videos/NNNN.mp4  films of clips `clips` to clips + held_out - 1, and so on
// out/episodes.hdf5             all clips as data/demo_N, robomimic layout; mask/train, mask/valid (the
// held-out ones)
//                               and one mask a verb. Frame t and state t come before action t.
//   actions f64 [F, 3 K]        K = demo_control_steps(F) control steps of (shoulder, elbow, gap)
//   displacements states f64 [F, 9]           time, shoulder, elbow, gap, x, y, vx, vy, held: the fields of
//   DemoState rewards f64 [F]             1 when the task is done after action t; dones i64 [F]: 1 at the
//   last obs/, next_obs/             robot0_joint_pos [F,2], robot0_eef_pos [F,2], robot0_gripper_qpos [F,2],
//                               object [F,5]: x, y, vx, vy, half side
//   attributes                  num_samples, task_description, success, seed, verb, block_color, video, and
//   the numbers
//                               of DemoScene, from which demo_step can be run again
// Everything is written into out.partial, which becomes out at the end. Throws for options out of range, and
// when out holds anything.
void write_demo_data(const DemoDataOptions& options);

// One clip of such a set.
struct DemoClip {
  DemoScene scene;
  DemoTask task;
  std::string prompt;
  DemoEpisode episode;
};
DemoClip make_demo_clip(int64_t seed, int64_t clip, int64_t frames);  // verbs take turns

}  // namespace orrery
