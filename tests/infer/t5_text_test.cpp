// The T5 text encoder from the files of a hub folder.
#include "infer/t5_text.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>

#include "base/error.h"
#include "base/rng.h"
#include "one_thread.h"
#include "text_networks.h"

namespace orrery {
namespace {

using testing::HasSubstr;

constexpr const char* kConfig =
    R"({"model_type":"t5","vocab_size":128,"d_model":16,"d_kv":4,"d_ff":24,"num_layers":2,"num_heads":3,)"
    R"("relative_attention_num_buckets":32,"layer_norm_epsilon":1e-6,"feed_forward_proj":"relu"})";

class T5TextTest : public testing::Test {
 protected:
  T5TextTest() { save({}); }

  void save(const std::map<std::string, at::Tensor>& more) {
    T5Encoder net(t5_config(nlohmann::json::parse(kConfig)));
    auto weights = test::random_weights(net);
    for (const auto& [name, tensor] : more) weights[name] = tensor;
    test::save_shards(folder.path(), weights);
    test::write_file(folder / "config.json", kConfig);
  }
  T5Text encoder(int64_t tokens = 32) const {
    return {load_t5(folder.path(), at::kFloat, at::kCPU), test::golden() / "t5_toy.model", tokens};
  }
  const c10::InferenceMode guard;
  const test::OneThread threads;
  const test::ScratchFolder folder;
};

TEST_F(T5TextTest, states_of_the_prompt_and_zeros_behind_its_end) {
  const T5Text text = encoder();
  const std::string prompt = "push the red cube";
  const at::Tensor embedding = text.encode({prompt, ""});
  EXPECT_EQ(embedding.sizes(), (at::IntArrayRef{2, 32, 16}));
  const auto ids = UnigramTokenizer(test::golden() / "t5_toy.model").encode(prompt, 32);
  const auto length = std::ssize(ids);
  ASSERT_GT(length, 4);
  const auto net = load_t5(folder.path(), at::kFloat, at::kCPU);
  EXPECT_TRUE(at::equal(embedding[0].slice(0, 0, length),
                        (*net)(at::tensor(ids, at::kLong).unsqueeze(0)).value()[0]));
  EXPECT_EQ(embedding[0].slice(0, length).abs().sum().item<double>(), 0);
  EXPECT_NE(embedding[1][0].abs().sum().item<double>(), 0);  // </s>
  EXPECT_EQ(embedding[1].slice(0, 1).abs().sum().item<double>(), 0);
  EXPECT_TRUE(at::equal(text.encode({"lift", prompt})[1], embedding[0]));
}

TEST_F(T5TextTest, the_rest_of_the_whole_model_is_passed_over) {
  const at::Tensor embedding = encoder().encode({"lift"});
  save({{"decoder.block.0.layer.0.SelfAttention.q.weight", at::ones({12, 16})},
        {"lm_head.weight", at::ones({128, 16})},
        {"encoder.embed_tokens.weight", at::ones({128, 16})}});
  EXPECT_TRUE(at::equal(encoder().encode({"lift"}), embedding));
}

TEST_F(T5TextTest, files_that_do_not_fit_are_refused) {
  const auto refusal = [&] {
    try {
      encoder();
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  save({{"encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight", at::ones({32, 3})}});
  EXPECT_THAT(refusal(), HasSubstr("unexpected: encoder.block.1.layer.0"));
  save({});
  std::string small = kConfig;
  small.replace(small.find("128"), 3, "20");
  test::write_file(folder / "config.json", small);
  EXPECT_THAT(refusal(), HasSubstr("wrong shape: shared.weight"));
}

TEST_F(T5TextTest, identity_tells_weights_and_length_apart) {
  const std::string identity = encoder().identity();
  EXPECT_EQ(encoder().identity(), identity);
  EXPECT_NE(encoder(31).identity(), identity);
  save({{"encoder.final_layer_norm.weight", at::ones({16})}});
  EXPECT_NE(encoder().identity(), identity);
}

}  // namespace
}  // namespace orrery
