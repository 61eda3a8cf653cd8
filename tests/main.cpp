// Entry point of the single-process tests: ATen as the program sets it.
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include "base/numerics.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const c10::InferenceMode inference;
  orrery::forbid_reduced_precision();
  return RUN_ALL_TESTS();
}
