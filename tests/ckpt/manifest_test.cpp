// Sizes in a manifest: what is accepted can be multiplied.
#include "ckpt/manifest.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "ckpt/digest.h"

namespace orrery {
namespace {

// The text with something else in a place, and the digest that goes with it.
std::string edited(std::string text, const std::string& from, const std::string& to) {
  std::string body = text.substr(0, text.find(",\"digest\""));
  body.replace(body.find(from), from.size(), to);
  return body + ",\"digest\":\"" + hex_of(digest_of(body)) + "\"}\n";
}

TEST(ManifestNumbers, only_whole_numbers_that_fit_are_read) {
  Manifest manifest;
  manifest.step = 7, manifest.seed = 8, manifest.mesh = {1, 2, 3};
  manifest.files = {{"a", 16, 5}};
  manifest.tensors["w"] = {at::kFloat, {4}, {{0, 0, 0, 4, {9}}}};
  const std::string text = manifest_text(manifest);
  EXPECT_EQ(parse_manifest(edited(text, "\"step\":7", "\"step\":6"), "test", Coverage::whole).step, 6);
  for (const std::string number : {"6.7e27", "7.5", "7.0", "18446744073709551615", "true", "null", "\"7\""}) {
    for (const auto& [from, to] :
         std::vector<std::pair<std::string, std::string>>{{"\"step\":7", "\"step\":" + number},
                                                          {"\"seed\":8", "\"seed\":" + number},
                                                          {"[1,2,3]", "[1," + number + ",3]"},
                                                          {"\"a\",16", "\"a\"," + number},
                                                          {"\"shape\":[4]", "\"shape\":[" + number + "]"},
                                                          {"[0,0,0,4,", "[0,0,0," + number + ","}}) {
      ASSERT_NE(text.find(from), text.npos) << from;
      EXPECT_THROW(parse_manifest(edited(text, from, to), "test", Coverage::whole), Error) << to;
    }
  }
}

TEST(ManifestSizes, sizes_that_overflow_are_refused_though_a_dimension_is_zero) {
  constexpr int64_t kHuge = int64_t{1} << 60;
  for (const auto& shape : {std::vector<int64_t>{0, kHuge, kHuge}, {kHuge, 0, kHuge}, {kHuge, kHuge, 0}}) {
    Manifest manifest;
    manifest.tensors["w"] = {at::kFloat, shape, {}};
    EXPECT_THROW(parse_manifest(manifest_text(manifest), "test", Coverage::whole), Error) << shape[1];
  }
}

TEST(ManifestSizes, an_empty_tensor_of_sound_sizes_is_read) {
  Manifest manifest;
  manifest.tensors["w"] = {at::kFloat, {0, 3, 5}, {}};
  const Manifest read = parse_manifest(manifest_text(manifest), "test", Coverage::whole);
  EXPECT_EQ(read.tensors.at("w").row_bytes(), 60);
}

}  // namespace
}  // namespace orrery
