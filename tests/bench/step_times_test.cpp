#include "bench/step_times.h"

#include <gtest/gtest.h>

namespace orrery {

TEST(StepTimes, the_median_of_an_even_number_is_the_mean_of_the_middle) {
  EXPECT_EQ(median_of({3}), 3);
  EXPECT_EQ(median_of({9, 1, 2}), 2);
  EXPECT_EQ(median_of({11, 1}), 6);
  EXPECT_EQ(median_of({4, 1, 100, 2}), 3);
}

}  // namespace orrery
