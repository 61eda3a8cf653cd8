#include "data/demo_task.h"

#include <set>

#include "base/error.h"

namespace orrery {
namespace {

constexpr std::array<DemoColor, 8> kColors = {{{"red", {214, 48, 49}},
                                               {"orange", {240, 136, 30}},
                                               {"yellow", {246, 206, 40}},
                                               {"green", {46, 160, 80}},
                                               {"cyan", {24, 176, 196}},
                                               {"blue", {42, 98, 214}},
                                               {"purple", {138, 66, 190}},
                                               {"pink", {236, 92, 160}}}};

constexpr std::array<std::string_view, 4> kPush = {"push", "slide", "move", "shove"};
constexpr std::array<std::string_view, 3> kPlace = {" to the ", " ", " towards the "};
constexpr std::array<std::string_view, 4> kLift = {"lift", "raise", "pick up", "lift up"};
constexpr std::array<std::string_view, 2> kBlock = {" block", " cube"};

std::set<std::string> words_of(std::string_view prompt) {
  std::set<std::string> words;
  std::string word;
  for (const char letter : std::string(prompt) + " ") {
    const bool upper = letter >= 'A' && letter <= 'Z', lower = letter >= 'a' && letter <= 'z';
    if (upper || lower) {
      word += static_cast<char>(upper ? letter - 'A' + 'a' : letter);
    } else if (!word.empty()) {
      words.insert(std::exchange(word, {}));
    }
  }
  return words;
}

}  // namespace

std::span<const DemoColor> demo_colors() {
  return kColors;
}

std::string demo_prompt(const DemoTask& task, uint64_t wording) {
  require(task.color >= 0 && task.color < std::ssize(kColors), "demo_prompt: colour ", task.color,
          ", wanted 0 to ", kColors.size() - 1);
  const auto choose = [&wording](const auto& choices) {
    const std::string choice(choices[wording % choices.size()]);
    wording /= choices.size();
    return choice;
  };
  const std::string color(kColors[task.color].name), block = choose(kBlock);
  if (task.verb == DemoVerb::lift) return choose(kLift) + " the " + color + block;
  const std::string side = task.verb == DemoVerb::push_left ? "left" : "right";
  const std::string push = choose(kPush), place = choose(kPlace);
  return push + " the " + color + block + place + side;
}

std::optional<DemoTask> parse_demo_prompt(std::string_view prompt) {
  const auto words = words_of(prompt);
  std::optional<int64_t> color;
  for (int64_t i = 0; i < std::ssize(kColors); ++i) {
    if (!words.contains(std::string(kColors[i].name))) continue;
    if (color) return {};
    color = i;
  }
  const bool left = words.contains("left"), right = words.contains("right");
  const bool lift = words.contains("lift") || words.contains("raise") || words.contains("pick");
  if (!color || left + right + lift != 1) return {};
  return DemoTask{*color, left ? DemoVerb::push_left : right ? DemoVerb::push_right : DemoVerb::lift};
}

}  // namespace orrery
