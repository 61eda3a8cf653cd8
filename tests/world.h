#pragma once
// The World that tests/mpi_main.cpp made for the tests of *_mpi_test.cpp.
#include "parallel/world.h"

namespace orrery {

World& test_world();

}  // namespace orrery
