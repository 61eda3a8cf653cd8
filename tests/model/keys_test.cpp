// The keys, shapes and types of the released networks, against manifests made from the published layout.
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "model/presets.h"
#include "model/wan_vae.h"

namespace orrery {
namespace {

std::string line_of(const std::string& key, at::IntArrayRef shape, at::ScalarType type) {
  std::string text = key + " ";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? "x" : "") + std::to_string(shape[i]);
  return text + (shape.empty() ? "scalar " : " ") +
         (type == at::kLong       ? "int64"
          : type == at::kBFloat16 ? "bf16"
          : type == at::kFloat    ? "fp32"
                                  : "other");
}

std::set<std::string> lines_of(const Module& net) {
  std::set<std::string> lines;
  for (const Parameter* p : net.parameters())
    lines.insert(line_of(p->key(), p->shape(), p->variable().dtype()));
  for (const Buffer* b : net.buffers())
    lines.insert(line_of(b->key(), b->value().sizes(), b->value().scalar_type()));
  return lines;
}

std::set<std::string> manifest(const std::string& name) {
  std::ifstream file(std::string(ORRERY_SOURCE_DIR) + "/tests/keys/" + name);
  std::set<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.insert(line);
  return lines;
}

TEST(Keys, released_networks_match_their_manifests) {
  for (const std::string name : {"2b", "14b"}) {
    DiT net(dit_preset(name));
    net.materialize(at::kMeta, at::kBFloat16);
    const std::set<std::string> want = manifest("dit_" + name + ".txt");
    ASSERT_GT(want.size(), 500u);
    EXPECT_EQ(lines_of(net), want);
  }
}

TEST(Keys, the_released_video_autoencoder_matches_its_manifest) {
  const std::set<std::string> want = manifest("wan_vae.txt");
  ASSERT_EQ(want.size(), 194u);
  WanVae net(WanVaeConfig(), WanVaePart::both), encoder(WanVaeConfig(), WanVaePart::encoder),
      decoder(WanVaeConfig(), WanVaePart::decoder);
  EXPECT_EQ(lines_of(net), want);
  EXPECT_EQ(net.num_parameters(), 126'892'531);
  EXPECT_EQ(encoder.num_parameters(), 53'595'872 + 1'056);
  EXPECT_EQ(decoder.num_parameters(), 73'295'331 + 272);
}

}  // namespace
}  // namespace orrery
