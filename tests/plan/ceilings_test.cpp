#include "plan/ceilings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "fixtures.h"
#include "ops/kernels.h"

namespace orrery::test {
namespace {

using testing::HasSubstr;

// The text of h100.json with one part replaced, read from a file.
std::string refusal(const std::string& part, const std::string& by) {
  std::string text;
  for (const BuiltInCeilings& c : built_in_ceilings())
    if (c.name == "h100") text = c.json;
  const size_t at = text.find(part);
  EXPECT_NE(at, std::string::npos) << part;
  text.replace(at, part.size(), by);
  const ScratchFolder folder;
  write_file(folder / "mine.json", text);
  try {
    read_ceilings((folder / "mine.json").string());
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Ceilings, the_built_in_files_are_whole_and_say_where_their_numbers_are_from) {
  EXPECT_THAT(ceilings_names(), testing::UnorderedElementsAre("b200", "cpu", "h100", "h200"));
  for (const std::string& name : ceilings_names()) {
    const Ceilings c = read_ceilings(name);
    EXPECT_EQ(c.device, name == "cpu" ? Device::cpu : Device::cuda);
    EXPECT_GE(c.peak_tflops, c.matmul_tflops) << name;
  }
  EXPECT_EQ(read_ceilings("h100").peak_tflops, 989);
}

TEST(Ceilings, a_file_of_ones_own_is_read) {
  EXPECT_EQ(refusal("\"NVIDIA H100 SXM 80GB\"", "\"mine\""), "");
}

TEST(Ceilings, what_is_missing_unknown_negative_or_without_source_is_named) {
  EXPECT_THAT(refusal("\"op_us\"", "\"opus\""), HasSubstr("unknown key opus"));
  EXPECT_THAT(refusal("\"peak_tflops\": {\"value\": 989", "\"peak_tflops\": {\"value\": -989"),
              HasSubstr("peak_tflops = -989, wanted a number > 0"));
  EXPECT_THAT(refusal("\"peak_tflops\": {\"value\": 989", "\"peak_tflops\": {\"value\": 1e999"),
              HasSubstr("no JSON"));
  EXPECT_THAT(refusal("{\"value\": 989, ", "{"), HasSubstr("peak_tflops has no number \"value\""));
  EXPECT_THAT(refusal("\"source\": \"HGX board\"", "\"source\": 8"),
              HasSubstr("ranks_per_node has no \"source\""));
  EXPECT_THAT(refusal("\"device\": \"cuda\"", "\"device\": \"tpu\""), HasSubstr("device \"tpu\""));
  EXPECT_THAT(refusal("\"value\": 0.05", "\"value\": 1.05"), HasSubstr("fragmentation = 1.05"));
  EXPECT_THAT(refusal("\"ranks_per_node\": {\"value\": 8", "\"ranks_per_node\": {\"value\": 7.5"),
              HasSubstr("whole number"));
  EXPECT_THAT(refusal("{\n", "[\n"), HasSubstr("no JSON object"));
}

TEST(Ceilings, a_missing_key_is_named) {
  const std::string text = refusal(
      "  \"op_us\": {\"value\": 5, \"source\": \"one to three kernel launches\", \"estimate\": true},\n", "");
  EXPECT_THAT(text, HasSubstr("missing op_us"));
}

TEST(Ceilings, an_unknown_name_is_refused_with_the_known_ones) {
  EXPECT_THROW(read_ceilings("h300"), Error);
}

TEST(Ceilings, are_without_our_own_kernels_where_the_program_lacks_them) {
  const Ceilings h200 = read_ceilings("h200");
  EXPECT_GT(h200.tiled_attention_forward_tflops, h200.attention_forward_tflops);
  EXPECT_EQ(as_built(h200).tiled_attention_forward_tflops > 0, kernels::cuda::has_tiled_attention());
  EXPECT_EQ(as_built(h200).attention_forward_tflops, h200.attention_forward_tflops);
}

}  // namespace
}  // namespace orrery::test
