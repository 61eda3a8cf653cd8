// Every golden case of tests/golden, and of the larger collection beside the repository where there is one,
// must pass.
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <sstream>

#include "fixtures.h"
#include "one_thread.h"
#include "parity/run.h"

namespace orrery {
namespace {

class GoldenCases : public testing::TestWithParam<std::string> {
 protected:
  void run_all(const std::filesystem::path& folder) {
    const c10::InferenceMode guard;
    const test::OneThread threads;
    std::ostringstream out;
    const Exit code = run_parity({.files = test::files_in(folder, GetParam(), ".safetensors")}, out);
    EXPECT_EQ(code, Exit::done) << out.str();
  }
};

TEST_P(GoldenCases, of_the_repository_pass) {
  run_all(test::golden());
}

TEST_P(GoldenCases, of_the_shared_collection_pass) {
  if (test::files_in(test::shared_parity(), GetParam(), ".safetensors").empty())
    GTEST_SKIP() << "../shared/parity/" << GetParam() << "* is absent";
  run_all(test::shared_parity());
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenCases,
                         testing::Values("dit_", "distill_attention_jvp_", "flow_", "sampler_", "optim_",
                                         "ema_", "pt_", "dcp_", "merge_", "vae_", "prep_dit_", "eval_",
                                         "text_"),
                         [](const auto& family) { return family.param.substr(0, family.param.size() - 1); });

}  // namespace
}  // namespace orrery
