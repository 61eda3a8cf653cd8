// The keys, shapes and types of both released sizes, against manifests made from the published layout.
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "model/presets.h"

namespace orrery {
namespace {

std::string line_of(const std::string& key, at::IntArrayRef shape, at::ScalarType type) {
  std::string text = key + " ";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? "x" : "") + std::to_string(shape[i]);
  return text + (shape.empty() ? "scalar " : " ") +
         (type == at::kLong       ? "int64"
          : type == at::kBFloat16 ? "bf16"
                                  : "other");
}

TEST(Keys, released_networks_match_their_manifests) {
  for (const std::string name : {"2b", "14b"}) {
    DiT net(dit_preset(name));
    net.materialize(at::kMeta, at::kBFloat16);
    std::set<std::string> got, want;
    for (const Parameter* p : net.parameters())
      got.insert(line_of(p->key(), p->shape(), p->variable().dtype()));
    for (const Buffer* b : net.buffers())
      got.insert(line_of(b->key(), b->value().sizes(), b->value().scalar_type()));
    std::ifstream file(std::string(ORRERY_SOURCE_DIR) + "/tests/keys/dit_" + name + ".txt");
    for (std::string line; std::getline(file, line);) want.insert(line);
    ASSERT_GT(want.size(), 500u);
    EXPECT_EQ(got, want);
  }
}

}  // namespace
}  // namespace orrery
