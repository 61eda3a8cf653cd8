// Prompt ids of the Reason1 text encoder, which need the whole vocabulary.
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <sstream>

#include "fixtures.h"
#include "parity/run.h"

namespace orrery {
namespace {

TEST(PromptIds, of_the_shared_collection_pass) {
  const auto files = test::files_in(test::shared_parity(), "tok_chat_", ".safetensors");
  if (files.empty()) GTEST_SKIP() << "../shared/parity/tok_chat_* is absent";
  const c10::InferenceMode guard;
  std::ostringstream out;
  EXPECT_EQ(run_parity({.files = files}, out), Exit::done) << out.str();
}

}  // namespace
}  // namespace orrery
