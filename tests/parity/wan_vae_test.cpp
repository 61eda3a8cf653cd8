// The video autoencoder's runners: what they refuse, and that a wrong network is noticed.
#include "parity/wan_vae.h"

#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>

#include "fixtures.h"
#include "one_thread.h"
#include "parity/compare.h"
#include "parity/registry.h"

namespace orrery {
namespace {

using testing::HasSubstr;

struct WanVaeRunner : testing::Test {
  const c10::InferenceMode guard;
  const test::OneThread threads;

  static std::string refusal(const std::string& name, CaseRunner run, const Json& changes) {
    Case c = load_case(test::golden() / (name + ".safetensors"));
    c.config.update(changes);
    try {
      run(c, at::kCPU);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }
};

TEST_F(WanVaeRunner, options_that_do_not_fit_are_refused_by_name) {
  const auto encoding = [](const Json& changes) {
    return refusal("vae_fp32_enc_t13_w8", run_wan_vae_encode, changes);
  };
  EXPECT_THAT(encoding({{"attn_scales", {0.5}}}), HasSubstr("attn_scales is not empty"));
  EXPECT_THAT(encoding({{"dropout", 0.1}}), HasSubstr("dropout is not 0"));
  EXPECT_THAT(encoding({{"widen", 2}}), HasSubstr("option widen is not known"));
  EXPECT_THAT(encoding({{"dim", 0}}), HasSubstr("dim is 0"));
  EXPECT_THAT(encoding({{"dim", 8}}), HasSubstr("weights.encoder.conv1.weight: shape [4, 3, 3, 3, 3]"));
  EXPECT_THAT(encoding({{"dim_mult", {1, 2, 4, UINT64_MAX}}}), HasSubstr("dim_mult"));
  EXPECT_THAT(encoding({{"dim_mult", "1"}}), HasSubstr("dim_mult has an unsuitable value"));
  EXPECT_THAT(encoding({{"temperal_downsample", {false, true}}}),
              HasSubstr("2 entries in temporal_downsample"));
  EXPECT_THAT(encoding({{"temporal_window", 6}}), HasSubstr("windows of 6 frames"));
  const auto convolving = [](const Json& changes) {
    return refusal("vae_op_conv3d_333", run_op_causal_conv3d, changes);
  };
  EXPECT_THAT(convolving({{"chunks", {4, 4}}}), HasSubstr("chunks: 4 frames of the 3"));
  EXPECT_THAT(convolving({{"chunks", {4}}}), HasSubstr("chunks: 4 of the 7"));
  EXPECT_THAT(convolving({{"stride", {0, 1, 1}}}), HasSubstr("stride has 0"));
  EXPECT_THAT(convolving({{"padding", {1, 1}}}), HasSubstr("padding has 2 values"));
  EXPECT_THAT(refusal("vae_op_down3d", run_op_vae_resample, {{"mode", "none"}}), HasSubstr("mode is none"));
  EXPECT_THAT(refusal("vae_op_down3d", run_op_vae_resample, {{"chunks", {2, 5}}}),
              HasSubstr("2 frames, wanted 1 + 2 n"));
  EXPECT_THAT(refusal("vae_op_latent_norm", run_op_vae_latent_norm, {{"std", {1, 2}}}),
              HasSubstr("latent scale"));
}

TEST_F(WanVaeRunner, one_changed_weight_fails_the_case) {
  Case c = load_case(test::golden() / "vae_fp32_enc_t13_w8.safetensors");
  const auto passes = [&] { return worst(compare(c, run_wan_vae_encode(c, at::kCPU))).passed; };
  EXPECT_TRUE(passes());
  const std::string key = "encoder.downsamples.8.time_conv.weight";
  at::Tensor weight = c.weights.at(key).clone();
  weight.view(-1)[0] += 0.1;
  c.weights[key] = weight;
  EXPECT_FALSE(passes());
}

}  // namespace
}  // namespace orrery
