#pragma once
// The demonstration scene: a two-joint arm with a gripper over a table with one block, seen from the side. It
// pushes the block left or right, or lifts it. Everything after the first frame follows from the first frame
// and the task, so that a world model's learning can be measured; states and actions are exact truth for
// later work.
//
// Units: 1 is half the shorter side of the picture, x to the right, y up, origin in the picture's middle;
// seconds; radians. Joint angles count from straight down, counter-clockwise. The arm is driven by joint
// displacements; the block obeys contact with the fingers, Coulomb friction with the table, and gravity.
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "data/demo_task.h"

namespace orrery {

inline constexpr double kDemoSeconds = 1.6;     // scene time of a whole clip, whatever its number of frames
inline constexpr double kDemoTable = -0.66;     // height at which the block stands
inline constexpr double kDemoShoulderY = 0.92;  // the shoulder hangs at x = 0
inline constexpr double kDemoUpperArm = 0.78;   // shoulder to elbow
inline constexpr double kDemoForearm = 0.72;    // elbow to wrist
inline constexpr double kDemoHand = 0.42;       // wrist to finger tips; the hand always hangs straight down
inline constexpr double kDemoPalm = 0.12;       // wrist to the palm's lower side, where the fingers begin
inline constexpr double kDemoFinger = 0.08;     // width of a finger
inline constexpr double kDemoMaxGap = 0.30;     // from the hand's middle to a finger's inner side, fully open

// What differs from clip to clip; all of it can be seen in the first frame.
struct DemoScene {
  int64_t color = 0;         // of the block, index into demo_colors()
  int64_t table = 0;         // tint, modulo the number of tints
  int64_t wall = 0;          // tint, modulo the number of tints
  double block_half = 0.21;  // half the block's side; a large block is moved more slowly
  double block_x = 0;        // its middle at the start
  double hand_x = 0;         // finger tips at the start
  double hand_y = 0;
};

struct DemoState {
  double time = 0;
  double shoulder = 0, elbow = 0;  // joint angles
  double gap = 0;                  // hand's middle to a finger's inner side
  double x = 0, y = 0;             // block's middle
  double vx = 0, vy = 0;           // block's velocity
  double held = 0;                 // 1 while the fingers grip the block
  bool operator==(const DemoState&) const = default;
};

// Displacements of one control step: shoulder and elbow (rad), gap (scene units).
using DemoAction = std::array<double, 3>;

struct DemoPoint {
  double x = 0, y = 0;
};
struct DemoArm {
  DemoPoint shoulder, elbow, wrist, tip;
};
DemoArm demo_arm(const DemoState& state);  // forward kinematics

DemoScene draw_demo_scene(uint64_t seed, uint64_t clip);  // position, size and tints; colour drawn too
DemoState demo_start(const DemoScene& scene);  // the state of the first frame: neutral pose, block at rest

// One control step of dt seconds. Joints that would drive the hand into the table, or onto the block from
// above, stall; each joint's speed is limited. Throws for actions that are not finite.
DemoState demo_step(const DemoScene& scene, const DemoState& state, const DemoAction& action, double dt);

// The scripted arm's choice at this state.
DemoAction demo_policy(const DemoScene& scene, const DemoTask& task, const DemoState& state, double dt);

// The task is done when the block has moved this far the right way.
inline constexpr double kDemoDone = 0.3;
bool demo_done(const DemoScene& scene, const DemoTask& task, const DemoState& state);

// F frames spread evenly over kDemoSeconds. Actions of frame t are the control steps that take state t to
// state t + 1, exactly; there is one control step a frame from 17 frames up, several below. The last frame's
// action leads to `after`, which is not shown.
struct DemoEpisode {
  std::vector<DemoState> states;                 // F
  std::vector<std::vector<DemoAction>> actions;  // F, each of demo_control_steps(F)
  DemoState after;
};
int64_t demo_control_steps(int64_t frames);  // a frame's control steps; frames >= 2
DemoEpisode simulate_demo(const DemoScene& scene, const DemoTask& task, int64_t frames);

}  // namespace orrery
