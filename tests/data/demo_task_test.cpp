#include "data/demo_task.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"

namespace orrery {

TEST(DemoTask, every_wording_states_its_task_and_there_are_several) {
  for (int64_t color = 0; color < std::ssize(demo_colors()); ++color)
    for (int64_t verb = 0; verb < kDemoVerbs; ++verb) {
      const DemoTask task{color, DemoVerb(verb)};
      std::set<std::string> prompts;
      for (uint64_t wording = 0; wording < 100; ++wording) {
        prompts.insert(demo_prompt(task, wording));
        EXPECT_EQ(parse_demo_prompt(demo_prompt(task, wording)), task) << demo_prompt(task, wording);
      }
      EXPECT_GE(prompts.size(), 6u);
    }
}

TEST(DemoTask, parser_ignores_case_and_punctuation) {
  EXPECT_EQ(parse_demo_prompt("Please LIFT, carefully, the Blue cube!"), (DemoTask{5, DemoVerb::lift}));
}

TEST(DemoTask, parser_refuses_what_is_not_one_task) {
  for (const char* prompt :
       {"", "push the block to the left", "push the red block", "lift the red block to the left",
        "push the red block left or right", "push the red and the blue block left",
        "the driver turns leftwards at the red light"})
    EXPECT_EQ(parse_demo_prompt(prompt), std::nullopt) << prompt;
  EXPECT_THROW(demo_prompt({99, DemoVerb::lift}, 0), Error);
}

}  // namespace orrery
