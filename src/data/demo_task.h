#pragma once
// What a film of the demonstration scene is about: a colour and a verb, and the sentences that say so. Used
// by the scene, by the writer of demonstration data, and by the evaluation, which reads the task back from
// the prompt.
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace orrery {

enum class DemoVerb { push_left, push_right, lift };
inline constexpr int64_t kDemoVerbs = 3;

struct DemoColor {
  std::string_view name;
  std::array<uint8_t, 3> rgb;  // sRGB of the block's front
};
std::span<const DemoColor> demo_colors();  // saturated, so that they stand out from walls, tables and the arm

struct DemoTask {
  int64_t color = 0;  // index into demo_colors()
  DemoVerb verb = DemoVerb::push_left;
  bool operator==(const DemoTask&) const = default;
};

// One of several wordings, chosen by wording modulo their number: "push the red block to the left".
std::string demo_prompt(const DemoTask& task, uint64_t wording);

// The task that a prompt states, or nothing when it names no known colour or no one verb. Ignores case,
// punctuation and words it does not know.
std::optional<DemoTask> parse_demo_prompt(std::string_view prompt);

}  // namespace orrery
