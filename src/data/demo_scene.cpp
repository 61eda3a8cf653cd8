#include "data/demo_scene.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/rng.h"

namespace orrery {
namespace {

constexpr int64_t kSubsteps = 32;         // of one control step
constexpr double kFriction = 2.6;         // deceleration of a sliding block, units / s^2
constexpr double kGravity = 9.8;          // units / s^2
constexpr double kJointSpeed = 9;         // rad / s
constexpr double kGapSpeed = 3;           // units / s
constexpr double kTipClearance = 0.05;    // finger tips over the table while pushing
constexpr int64_t kMinControlSteps = 16;  // of a clip

struct Hand {
  DemoPoint tip;
  double gap;
};

struct Interval {
  double low, high;
  double middle() const { return (low + high) / 2; }
};

Interval finger(const Hand& hand, int side) {
  const double inner = hand.tip.x + side * hand.gap, outer = inner + side * kDemoFinger;
  return {std::min(inner, outer), std::max(inner, outer)};
}

bool overlaps(const Interval& a, const Interval& b) {
  return a.low < b.high && b.low < a.high;
}

DemoPoint polar(DemoPoint from, double length, double angle) {
  return {from.x + length * std::sin(angle), from.y - length * std::cos(angle)};
}

Hand hand_of(const DemoState& state) {
  return {demo_arm(state).tip, state.gap};
}

// The elbow points to the right.
std::array<double, 2> joints_for(DemoPoint tip) {
  const double dx = tip.x, dy = tip.y + kDemoHand - kDemoShoulderY;
  const double a = kDemoUpperArm, b = kDemoForearm;
  const double reach = std::clamp(std::hypot(dx, dy), std::abs(a - b) + 1e-6, a + b - 1e-6);
  const double inner = std::acos((a * a + b * b - reach * reach) / (2 * a * b));
  const double lift = std::acos((a * a + reach * reach - b * b) / (2 * a * reach));
  return {std::atan2(dx, -dy) + lift, inner - std::numbers::pi};
}

// Would the hand press on the table, or come down on the block? The held block counts as part of the hand.
bool stalls(const DemoScene& scene, const DemoState& state, const Hand& before, const Hand& after) {
  if (after.tip.y < kDemoTable) return true;
  const double half = scene.block_half;
  if (state.held > 0)
    return state.y + after.tip.y - before.tip.y < kDemoTable + half - 1e-9 && after.tip.y < before.tip.y;
  const Interval block{state.x - half, state.x + half};
  const double top = state.y + half, fingers = kDemoHand - kDemoPalm;
  const bool on_top = before.tip.y >= top && after.tip.y < top &&
                      (overlaps(finger(after, -1), block) || overlaps(finger(after, 1), block));
  const double palm = after.gap + kDemoFinger;
  const bool palm_on_top = before.tip.y + fingers >= top && after.tip.y + fingers < top &&
                           overlaps({after.tip.x - palm, after.tip.x + palm}, block);
  return on_top || palm_on_top;
}

// Fingers beside the block push it, without bounce; two fingers from both sides grip it. from_x: the block's
// place before this substep.
void touch(const DemoScene& scene, DemoState& state, const Hand& hand, double from_x, double dt) {
  const double half = scene.block_half, start = state.x;
  if (hand.tip.y >= state.y + half) return;
  double low = -1e9, high = 1e9;  // where the block's middle may be
  for (const int side : {-1, 1}) {
    const Interval f = finger(hand, side);
    if (f.middle() < start) {
      low = std::max(low, f.high + half);
    } else {
      high = std::min(high, f.low - half);
    }
  }
  if (low >= high) {
    state.gap = half;
    state.x = hand.tip.x;
    state.held = 1;
  } else {
    state.x = std::clamp(start, low, high);
  }
  if (state.x != start) state.vx = (state.x - from_x) / dt;
}

void fly(const DemoScene& scene, DemoState& state, double dt) {
  const double floor = kDemoTable + scene.block_half;
  if (state.y <= floor) {
    const double speed = std::max(0.0, std::abs(state.vx) - kFriction * dt);
    state.vx = state.vx < 0 ? -speed : speed;
  }
  state.vy -= kGravity * dt;
  state.x += state.vx * dt;
  state.y += state.vy * dt;
  if (state.y <= floor) {
    state.y = floor;
    state.vy = 0;
  }
}

void substep(const DemoScene& scene, DemoState& state, const DemoAction& delta, double dt) {
  const Hand before = hand_of(state);
  DemoState next = state;
  next.shoulder += delta[0];
  next.elbow += delta[1];
  next.gap = std::clamp(next.gap + delta[2], 0.0, kDemoMaxGap);
  if (state.held > 0) next.gap = std::max(next.gap, scene.block_half);
  const Hand after = hand_of(next);
  const bool stalled = stalls(scene, state, before, after);
  if (!stalled) state = next;
  const Hand hand = stalled ? before : after;
  if (state.held > 0 && state.gap > scene.block_half) state.held = 0;
  if (state.held > 0) {
    const double dx = hand.tip.x - before.tip.x, dy = hand.tip.y - before.tip.y;
    state.x += dx;
    state.y += dy;
    state.vx = dx / dt;
    state.vy = dy / dt;
  } else {
    const double from_x = state.x;
    fly(scene, state, dt);
    touch(scene, state, hand, from_x, dt);
  }
  state.time += dt;
}

// A point of the scripted path: where finger tips and gap are at a time. Between two points: minimum jerk.
struct Waypoint {
  double time;
  DemoPoint tip;
  double gap;
};

std::vector<Waypoint> push_path(const DemoScene& scene, int direction) {
  constexpr double closed = 0.02, margin = 0.06, distance = 0.56;
  const double x = scene.block_x - direction * (scene.block_half + kDemoFinger + closed + margin);
  const double low = kDemoTable + kTipClearance;
  return {{0, {scene.hand_x, scene.hand_y}, kDemoMaxGap},
          {0.30, {x, scene.hand_y - 0.08}, closed},
          {0.54, {x, low}, closed},
          {1.36, {x + direction * distance, low}, closed}};
}

std::vector<Waypoint> lift_path(const DemoScene& scene) {
  const double x = scene.block_x, grip = kDemoTable + 2 * scene.block_half - 0.24;
  const double squeeze = scene.block_half - 0.02, rise = 0.6;
  return {{0, {scene.hand_x, scene.hand_y}, kDemoMaxGap},
          {0.40, {x, grip}, kDemoMaxGap},
          {0.56, {x, grip}, squeeze},
          {1.36, {x, grip + rise}, squeeze}};
}

Waypoint along(const std::vector<Waypoint>& path, double time) {
  for (size_t i = 1; i < path.size(); ++i) {
    if (time >= path[i].time) continue;
    const Waypoint &a = path[i - 1], &b = path[i];
    const double u = (time - a.time) / (b.time - a.time);
    const double s = u * u * u * (10 - 15 * u + 6 * u * u);
    return {time,
            {a.tip.x + s * (b.tip.x - a.tip.x), a.tip.y + s * (b.tip.y - a.tip.y)},
            a.gap + s * (b.gap - a.gap)};
  }
  return path.back();
}

// Small blocks are moved faster: the first frame shows the size, hence the speed.
double pace(const DemoScene& scene) {
  return 1.12 - (scene.block_half - 0.19) * 4.4;
}

}  // namespace

DemoArm demo_arm(const DemoState& state) {
  const DemoPoint shoulder{0, kDemoShoulderY};
  const DemoPoint elbow = polar(shoulder, kDemoUpperArm, state.shoulder);
  const DemoPoint wrist = polar(elbow, kDemoForearm, state.shoulder + state.elbow);
  return {shoulder, elbow, wrist, {wrist.x, wrist.y - kDemoHand}};
}

DemoScene draw_demo_scene(uint64_t seed, uint64_t clip) {
  Rng rng(seed, "demo-scene", {clip});
  const auto between = [&rng](double low, double high) { return low + (high - low) * rng.uniform(); };
  DemoScene scene;
  scene.color = static_cast<int64_t>(rng.below(demo_colors().size()));
  scene.table = static_cast<int64_t>(rng.below(1u << 20));
  scene.wall = static_cast<int64_t>(rng.below(1u << 20));
  scene.block_half = between(0.19, 0.235);
  scene.block_x = between(-0.12, 0.12);
  scene.hand_x = scene.block_x / 2 + between(-0.05, 0.05);
  scene.hand_y = between(-0.08, 0.04);
  return scene;
}

DemoState demo_start(const DemoScene& scene) {
  const auto [shoulder, elbow] = joints_for({scene.hand_x, scene.hand_y});
  DemoState state;
  state.shoulder = shoulder;
  state.elbow = elbow;
  state.gap = kDemoMaxGap;
  state.x = scene.block_x;
  state.y = kDemoTable + scene.block_half;
  return state;
}

DemoState demo_step(const DemoScene& scene, const DemoState& state, const DemoAction& action, double dt) {
  require(dt > 0 && std::isfinite(dt), "demo_step: dt ", dt, ", wanted a positive time");
  const std::array<double, 3> limits = {kJointSpeed * dt, kJointSpeed * dt, kGapSpeed * dt};
  DemoAction delta;
  for (size_t i = 0; i < action.size(); ++i) {
    require(std::isfinite(action[i]), "demo_step: action ", i, " is ", action[i], ", wanted a finite number");
    delta[i] = std::clamp(action[i], -limits[i], limits[i]) / kSubsteps;
  }
  DemoState next = state;
  for (int64_t i = 0; i < kSubsteps; ++i) substep(scene, next, delta, dt / kSubsteps);
  return next;
}

DemoAction demo_policy(const DemoScene& scene, const DemoTask& task, const DemoState& state, double dt) {
  const auto path = task.verb == DemoVerb::lift ? lift_path(scene)
                                                : push_path(scene, task.verb == DemoVerb::push_left ? -1 : 1);
  const Waypoint target = along(path, (state.time + dt) * pace(scene));
  const auto [shoulder, elbow] = joints_for(target.tip);
  return {shoulder - state.shoulder, elbow - state.elbow, target.gap - state.gap};
}

bool demo_done(const DemoScene& scene, const DemoTask& task, const DemoState& state) {
  const double dx = state.x - scene.block_x, dy = state.y - (kDemoTable + scene.block_half);
  if (task.verb == DemoVerb::lift) return dy >= kDemoDone;
  return (task.verb == DemoVerb::push_left ? -dx : dx) >= kDemoDone;
}

int64_t demo_control_steps(int64_t frames) {
  require(frames >= 2, "demo scene: ", frames, " frames, wanted at least 2");
  return (kMinControlSteps + frames - 2) / (frames - 1);
}

DemoEpisode simulate_demo(const DemoScene& scene, const DemoTask& task, int64_t frames) {
  const int64_t steps = demo_control_steps(frames);
  const double dt = kDemoSeconds / static_cast<double>((frames - 1) * steps);
  DemoEpisode episode;
  DemoState state = demo_start(scene);
  for (int64_t frame = 0; frame < frames; ++frame) {
    episode.states.push_back(state);
    auto& actions = episode.actions.emplace_back();
    for (int64_t step = 0; step < steps; ++step) {
      actions.push_back(demo_policy(scene, task, state, dt));
      state = demo_step(scene, state, actions.back(), dt);
    }
  }
  episode.after = state;
  return episode;
}

}  // namespace orrery
