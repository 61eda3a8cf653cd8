#include "infer/load_wan_vae.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>

#include "base/error.h"
#include "ckpt/torch_writer.h"
#include "fixtures.h"

namespace orrery {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class LoadWanVae : public testing::Test {
 protected:
  LoadWanVae() {
    WanVae net(config, WanVaePart::both);
    net.materialize(at::kCPU, at::kFloat);
    net.initialize(7);
    for (const Parameter* p : net.parameters()) stored[p->key()] = p->value();
  }
  LoadedWanVae load(WanVaePart part, at::ScalarType type) {
    save_torch(folder / "tokenizer.pth", stored);
    return load_wan_vae(folder / "tokenizer.pth", config, part, type, at::kCPU);
  }
  std::string refusal(WanVaePart part) {
    try {
      load(part, at::kFloat);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }

  const WanVaeConfig config{.dim = 2};
  std::map<std::string, at::Tensor> stored;
  test::ScratchFolder folder;
};

TEST_F(LoadWanVae, a_pth_file_fills_the_network_or_one_half_in_the_type_asked_for) {
  for (const WanVaePart part : {WanVaePart::both, WanVaePart::encoder, WanVaePart::decoder})
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      const LoadedWanVae loaded = load(part, type);
      for (const Parameter* p : loaded.net->parameters()) {
        ASSERT_TRUE(at::equal(p->value(), stored.at(p->key()).to(type))) << p->key();
        ASSERT_FALSE(p->variable().needs_grad());
      }
      EXPECT_EQ(loaded.net->encoder != nullptr, part != WanVaePart::decoder);
      EXPECT_EQ(loaded.net->decoder != nullptr, part != WanVaePart::encoder);
    }
}

TEST_F(LoadWanVae, a_file_of_one_half_loads_as_that_half_alone) {
  std::erase_if(stored, [](const auto& entry) {
    return entry.first.starts_with("decoder.") || entry.first.starts_with("conv2.");
  });
  EXPECT_EQ(refusal(WanVaePart::encoder), "accepted");
  EXPECT_THAT(refusal(WanVaePart::both), HasSubstr("missing"));
  EXPECT_THAT(refusal(WanVaePart::decoder), HasSubstr("missing"));
}

TEST_F(LoadWanVae, what_the_network_lacks_or_has_in_another_shape_is_refused_by_name) {
  stored["encoder.middle.1.norm.gamma"] = at::ones({8});
  stored["encoder.extra.weight"] = at::ones({2});
  stored.erase("conv1.bias");
  EXPECT_THAT(refusal(WanVaePart::encoder),
              AllOf(HasSubstr("encoder.middle.1.norm.gamma"), HasSubstr("encoder.extra.weight"),
                    HasSubstr("conv1.bias")));
}

}  // namespace
}  // namespace orrery
