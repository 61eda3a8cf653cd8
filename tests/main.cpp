// Entry point of the single-process tests: inference mode on, as in the program, so that ATen records nothing.
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const c10::InferenceMode inference;
  return RUN_ALL_TESTS();
}
