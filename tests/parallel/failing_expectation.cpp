// A test that fails on rank 1 alone, on purpose: tests/mpi_main.cpp must print it and end the run with 1.
#include <gtest/gtest.h>

#include "world.h"

namespace orrery {

TEST(Failure, is_printed) {
  EXPECT_EQ(test_world().rank(), 0) << "fails on purpose";
}

}  // namespace orrery
