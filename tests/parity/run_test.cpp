// `orrery parity` and `orrery forward` as functions: verdicts, exit codes, messages.
#include "parity/run.h"

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>

#include <sstream>

#include "ckpt/safetensors.h"
#include "fixtures.h"
#include "parity/case.h"

namespace orrery {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using Metadata = std::map<std::string, std::string>;

// A case of op_gated_add: y = x + gate * branch = 1 + 2 * 3.
NamedTensors gated_add_tensors(double y) {
  return {{"inputs.x", at::ones({1, 1, 1, 1, 4})},
          {"inputs.gate", at::full({1, 1, 4}, 2.0)},
          {"inputs.branch", at::full({1, 1, 1, 1, 4}, 3.0)},
          {"outputs.y", at::full({1, 1, 1, 1, 4}, y)}};
}

Metadata metadata(const std::string& module) {
  return {{"module", module}, {"config", "{}"}, {"dtype", "float32"}, {"tolerance", R"({"*":1e-6})"}};
}

class RunTest : public testing::Test {
 protected:
  std::filesystem::path file(const std::string& name, double y = 7,
                             const std::string& module = "op_gated_add") {
    save_safetensors(folder / name, gated_add_tensors(y), metadata(module));
    return folder / name;
  }
  Exit parity(std::vector<std::filesystem::path> files) {
    std::ostringstream out;
    const Exit code = run_parity({.files = std::move(files)}, out);
    text = out.str();
    return code;
  }
  const c10::InferenceMode guard;
  const test::ScratchFolder folder;
  std::string text;
};

TEST_F(RunTest, a_right_result_passes) {
  EXPECT_EQ(parity({file("right.safetensors")}), Exit::done);
  EXPECT_THAT(text, HasSubstr("PASS"));
  EXPECT_THAT(text, EndsWith("\n1 passed, 0 failed\n"));
}

TEST_F(RunTest, a_wrong_result_fails_and_the_others_still_run) {
  EXPECT_EQ(parity({file("wrong.safetensors", 7.001), file("right.safetensors")}), Exit::failure);
  EXPECT_THAT(text, HasSubstr("FAILED y: error 1.43e-04, tolerance 1.00e-06"));
  EXPECT_THAT(text, EndsWith("\n1 passed, 1 failed\n"));
}

TEST_F(RunTest, an_unknown_module_fails_by_name) {
  EXPECT_EQ(parity({file("strange.safetensors", 7, "op_strange")}), Exit::failure);
  EXPECT_THAT(text, HasSubstr("unknown module 'op_strange'"));
  EXPECT_THAT(text, EndsWith("\n0 passed, 1 failed\n"));
}

TEST_F(RunTest, a_broken_file_is_bad_input_and_the_others_still_run) {
  test::write_file(folder / "broken.safetensors", "not a safetensors file");
  EXPECT_EQ(parity({folder / "broken.safetensors", folder / "absent", file("right.safetensors")}),
            Exit::bad_input);
  EXPECT_THAT(text, HasSubstr("broken.safetensors: header of"));
  EXPECT_THAT(text, HasSubstr("absent: cannot open"));
  EXPECT_THAT(text, EndsWith("\n1 passed, 2 failed\n"));
}

TEST_F(RunTest, what_a_module_refuses_fails_the_case_with_its_message) {
  NamedTensors tensors = gated_add_tensors(7);
  tensors.erase("inputs.gate");
  save_safetensors(folder / "c.safetensors", tensors, metadata("op_gated_add"));
  EXPECT_EQ(parity({folder / "c.safetensors"}), Exit::failure);
  EXPECT_THAT(text, HasSubstr("the file has no inputs.gate"));
}

TEST_F(RunTest, a_cotangent_without_output_fails) {
  NamedTensors tensors = gated_add_tensors(7);
  tensors["cotangents.z"] = at::ones({4});
  save_safetensors(folder / "c.safetensors", tensors, metadata("op_gated_add"));
  EXPECT_EQ(parity({folder / "c.safetensors"}), Exit::failure);
  EXPECT_THAT(text, HasSubstr("cotangents.z"));
}

TEST_F(RunTest, options_are_checked) {
  std::ostringstream out;
  EXPECT_THROW(run_parity({}, out), Error);
  EXPECT_THROW(run_parity({.files = {file("right.safetensors")}, .device = "tpu"}, out), Error);
}

TEST_F(RunTest, forward_writes_results_that_parity_accepts) {
  NamedTensors tensors = gated_add_tensors(7);
  tensors.erase("outputs.y");
  tensors["cotangents.y"] = at::ones({1, 1, 1, 1, 4});
  tensors["tangents.gate"] = at::ones({1, 1, 4});
  save_safetensors(folder / "in.safetensors", tensors, {{"module", "op_gated_add"}});
  std::ostringstream out;
  run_forward({.input = folder / "in.safetensors", .output = folder / "out.safetensors"}, out);
  const Safetensors written(folder / "out.safetensors");
  ASSERT_TRUE(written.contains("outputs.y"));
  EXPECT_EQ(written.tensor("outputs.y").sum().item<float>(), 28);
  EXPECT_EQ(written.tensor("input_grads.gate").sum().item<float>(), 12);
  EXPECT_EQ(written.tensor("output_tangents.y").sum().item<float>(), 12);
  EXPECT_THAT(out.str(), HasSubstr("outputs.y Float [1, 1, 1, 1, 4]"));

  NamedTensors both = tensors;
  for (const auto& [name, tensor] : written.tensors()) both[name] = tensor;
  save_safetensors(folder / "both.safetensors", both, metadata("op_gated_add"));
  EXPECT_EQ(parity({folder / "both.safetensors"}), Exit::done) << text;
}

TEST_F(RunTest, forward_refuses_an_unknown_module_and_writes_nothing) {
  std::ostringstream out;
  const auto output = folder / "out.safetensors";
  EXPECT_THROW(run_forward({.input = file("strange.safetensors", 7, "op_strange"), .output = output}, out),
               Error);
  EXPECT_FALSE(std::filesystem::exists(output));
}

}  // namespace
}  // namespace orrery
