// The DiT's runner: what it refuses, and that a wrong network is noticed.
#include "parity/dit.h"

#include <ATen/ops/ones.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>

#include "ckpt/safetensors.h"
#include "fixtures.h"
#include "parity/compare.h"

namespace orrery {
namespace {

using testing::HasSubstr;

class DitRunner : public testing::Test {
 protected:
  std::string refusal(const Json& changes) {
    Case changed = c;
    changed.config.update(changes);
    return refusal_of(changed);
  }
  static std::string refusal_of(const Case& c) {
    try {
      run_dit(c, at::kCPU);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }
  bool passes() const { return worst(compare(c, run_dit(c, at::kCPU))).passed; }

  const c10::InferenceMode guard;
  Case c = load_case(test::golden() / "dit_fp32_jvp.safetensors");
};

TEST_F(DitRunner, options_that_do_not_fit_are_refused_by_name) {
  EXPECT_THAT(refusal({{"rope_h_ratio", 1}}), HasSubstr("option rope_h_ratio is unknown"));
  EXPECT_THAT(refusal({{"pos_emb_cls", "learned"}}),
              HasSubstr(R"(pos_emb_cls is "learned", this network has "rope3d")"));
  EXPECT_THAT(refusal({{"use_adaln_lora", false}}), HasSubstr("use_adaln_lora is false"));
  EXPECT_THAT(refusal({{"num_blocks", 0}}), HasSubstr("num_blocks is 0"));
  EXPECT_THAT(refusal({{"num_blocks", 1'000'000}}), HasSubstr("1000000 blocks"));
  EXPECT_THAT(refusal({{"num_blocks", 2.5}}), HasSubstr("num_blocks has an unsuitable value: 2.5"));
  EXPECT_THAT(refusal({{"num_blocks", UINT64_MAX}}), HasSubstr("num_blocks has an unsuitable value"));
  EXPECT_THAT(refusal({{"num_blocks", true}}), HasSubstr("num_blocks has an unsuitable value: true"));
  EXPECT_THAT(refusal({{"num_heads", 3}}), HasSubstr("do not divide into 3 heads"));
  EXPECT_THAT(refusal({{"mlp_ratio", -1}}), HasSubstr("mlp_ratio is -1"));
  EXPECT_THAT(refusal({{"mlp_ratio", "4"}}), HasSubstr("mlp_ratio has an unsuitable value: \"4\""));
  EXPECT_THAT(refusal({{"concat_padding_mask", 1}}),
              HasSubstr("concat_padding_mask has an unsuitable value: 1"));
  EXPECT_THAT(refusal({{"patch_spatial", 128}}), HasSubstr("larger than 64"));
  EXPECT_THAT(refusal({{"data_type", "audio"}}), HasSubstr("data_type is audio"));
  EXPECT_EQ(refusal({{"min_fps", 1}, {"n_dense_blocks", -1}}), "accepted");
  c.config.erase("timestep_scale");
  EXPECT_THAT(refusal_of(c), HasSubstr("no option timestep_scale"));
}

TEST_F(DitRunner, weights_that_do_not_fit_are_refused_by_name) {
  EXPECT_THAT(refusal({{"adaln_lora_dim", 16}}),
              HasSubstr("adaln_modulation.1.weight: shape [8, 64], the module wants [16, 64]"));
  EXPECT_THAT(refusal({{"num_blocks", 3}}), HasSubstr("no weights.blocks.2."));
  c.weights.erase("pos_embedder.seq");
  EXPECT_THAT(refusal_of(c), HasSubstr("no weights.pos_embedder.seq"));
}

TEST_F(DitRunner, weights_that_the_module_does_not_use_may_be_present) {
  c.weights["net.extra"] = at::ones({3});
  EXPECT_EQ(refusal_of(c), "accepted");
}

TEST_F(DitRunner, a_tangent_that_would_be_ignored_is_refused) {
  c.tangents["padding_mask"] = c.inputs.at("padding_mask");
  EXPECT_THAT(refusal_of(c), HasSubstr("tangents.padding_mask"));
}

TEST_F(DitRunner, one_changed_weight_fails_the_case) {
  EXPECT_TRUE(passes());
  at::Tensor weight = c.weights.at("blocks.1.mlp.layer1.weight").clone();
  weight[0][0] += 0.1;
  c.weights["blocks.1.mlp.layer1.weight"] = weight;
  EXPECT_FALSE(passes());
}

TEST_F(DitRunner, a_changed_option_fails_the_case) {
  for (const Json& change : {Json{{"timestep_scale", 0.00101}}, Json{{"rope_t_extrapolation_ratio", 1.1}},
                             Json{{"data_type", "image"}}}) {
    Case changed = c;
    changed.config.update(change);
    EXPECT_FALSE(worst(compare(changed, run_dit(changed, at::kCPU))).passed) << change;
  }
}

}  // namespace
}  // namespace orrery
