// The text encoders' runners: what they refuse, and that a wrong network is noticed.
#include "parity/text.h"

#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>

#include "fixtures.h"
#include "one_thread.h"
#include "parity/compare.h"
#include "parity/registry.h"

namespace orrery {
namespace {

using testing::HasSubstr;

struct TextRunner : testing::Test {
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

TEST_F(TextRunner, options_that_do_not_fit_are_refused_by_name) {
  const auto qwen = [](const Json& changes) {
    return refusal("text_fp32_qwen25_gqa7", run_qwen25_text, changes);
  };
  EXPECT_EQ(qwen(Json::object()), "accepted");
  EXPECT_THAT(qwen({{"hidden_size", 1.5}}), HasSubstr("hidden_size is '1.5'"));
  EXPECT_THAT(qwen({{"hidden_size", 1e300}}), HasSubstr("hidden_size"));
  EXPECT_THAT(qwen({{"hidden_size", 0}}), HasSubstr("hidden_size"));
  EXPECT_THAT(qwen({{"num_hidden_layers", 5000}}), HasSubstr("5000 layers"));
  EXPECT_THAT(qwen({{"num_key_value_heads", 2}}), HasSubstr("do not fit together"));
  EXPECT_THAT(qwen({{"num_attention_heads", 14}}),
              HasSubstr("weights.model.layers.0.self_attn.k_proj.weight"));
  EXPECT_THAT(qwen({{"rope_theta", -1}}), HasSubstr("rope_theta"));
  EXPECT_THAT(qwen({{"hidden_act", "gelu"}}), HasSubstr("hidden_act"));
  EXPECT_THAT(qwen({{"model_type", "qwen3"}}), HasSubstr("model_type"));
  EXPECT_THAT(qwen({{"use_sliding_window", true}}), HasSubstr("use_sliding_window"));
  EXPECT_THAT(qwen({{"rope_scaling", {{"type", "yarn"}}}}), HasSubstr("type is"));
  EXPECT_THAT(qwen({{"max_position_embeddings", 8}}), HasSubstr("S up to 8"));
  EXPECT_THAT(qwen({{"key_prefix", ""}}), HasSubstr("key_prefix"));
  EXPECT_THAT(qwen({{"text_config", 1}}), HasSubstr("text_config"));
  const auto t5 = [](const Json& changes) { return refusal("text_fp32_t5_short", run_t5_encoder, changes); };
  EXPECT_THAT(t5({{"feed_forward_proj", "gated-gelu"}}), HasSubstr("feed_forward_proj"));
  EXPECT_THAT(t5({{"relative_attention_num_buckets", 30}}), HasSubstr("30 buckets"));
  EXPECT_THAT(t5({{"relative_attention_max_distance", 8}}), HasSubstr("distances up to 8"));
  EXPECT_THAT(t5({{"d_kv", 8}}), HasSubstr("SelfAttention.q.weight"));
  EXPECT_THAT(
      refusal("text_fp32_reason1_pool", run_reason1_embedding, {{"embedding_concat_strategy", "sum"}}),
      HasSubstr("wanted one of: full_concat, mean_pooling"));
}

TEST_F(TextRunner, older_configs_of_t5_leave_the_released_values_out) {
  Case c = load_case(test::golden() / "text_fp32_t5_short.safetensors");
  c.config.erase("relative_attention_max_distance");
  c.config.erase("feed_forward_proj");
  EXPECT_TRUE(worst(compare(c, run_t5_encoder(c, at::kCPU))).passed);
}

TEST_F(TextRunner, one_changed_weight_fails_the_case) {
  struct Change {
    std::string name;
    CaseRunner run;
    std::string key;
  };
  for (const auto& [name, run, key] :
       {Change{"text_fp32_qwen25_gqa7", run_qwen25_text, "model.layers.1.self_attn.k_proj.bias"},
        Change{"text_fp32_t5_short", run_t5_encoder, "encoder.block.2.layer.1.layer_norm.weight"}}) {
    Case c = load_case(test::golden() / (name + ".safetensors"));
    at::Tensor weight = c.weights.at(key).clone();
    weight.view(-1)[1] += 0.05;
    c.weights[key] = weight;
    EXPECT_FALSE(worst(compare(c, run(c, at::kCPU))).passed) << key;
  }
}

}  // namespace
}  // namespace orrery
