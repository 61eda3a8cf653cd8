// The Reason1 text encoder from the files of a hub folder.
#include "infer/reason1_text.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>

#include "base/error.h"
#include "base/rng.h"
#include "ckpt/weight_file.h"
#include "model/layer_join.h"
#include "one_thread.h"
#include "text/chat_template.h"
#include "text_networks.h"

namespace orrery {
namespace {

using testing::HasSubstr;

constexpr const char* kConfig =
    R"({"architectures":["Qwen2_5_VLForConditionalGeneration"],"model_type":"qwen2_5_vl","vocab_size":520,)"
    R"("hidden_size":24,"intermediate_size":40,"num_hidden_layers":3,"num_attention_heads":4,)"
    R"("num_key_value_heads":2,"rms_norm_eps":1e-6,"rope_theta":1000000.0,"max_position_embeddings":256,)"
    R"("hidden_act":"silu","use_sliding_window":false,"rope_scaling":{"mrope_section":[1,1,1],"type":"mrope"}})";

class Reason1TextTest : public testing::Test {
 protected:
  Reason1TextTest() { save("model", {}); }

  void save(const std::string& prefix, const std::map<std::string, at::Tensor>& more) {
    Reason1Net net(prefix, qwen_text_config(nlohmann::json::parse(kConfig)));
    auto weights = test::random_weights(net);
    for (const auto& [name, tensor] : more) weights[name] = tensor;
    std::erase_if(weights, [](const auto& item) { return !item.second.defined(); });
    test::save_shards(folder.path(), weights);
    test::write_file(folder / "config.json", kConfig);
  }
  Reason1Text encoder(LayerJoin join = LayerJoin::full_concat, int64_t tokens = 150) const {
    return {load_reason1(folder.path(), at::kFloat, at::kCPU), test::golden() / "tok_toy.json", join, tokens};
  }
  std::string refusal() const {
    try {
      load_reason1(folder.path(), at::kFloat, at::kCPU);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }
  const c10::InferenceMode guard;
  const test::OneThread threads;
  const test::ScratchFolder folder;
};

TEST_F(Reason1TextTest, an_embedding_is_the_joined_states_of_the_chat) {
  const Reason1Text text = encoder();
  EXPECT_EQ(text.channels(), 72);
  const at::Tensor embedding = text.encode({"lift the cube", ""});
  EXPECT_EQ(embedding.sizes(), (at::IntArrayRef{2, 150, 72}));
  const BpeTokenizer tokenizer(test::golden() / "tok_toy.json");
  const auto ids = chat_ids(tokenizer, chat_of(kReason1System, "lift the cube"), 150, 512);
  const auto net = load_reason1(folder.path(), at::kFloat, at::kCPU);
  const at::Tensor wanted = join_layers(net->text.hidden_states(at::tensor(ids, at::kLong).unsqueeze(0)),
                                        LayerJoin::full_concat, 1);
  EXPECT_TRUE(at::equal(embedding[0], wanted[0]));
  EXPECT_FALSE(at::equal(embedding[0], embedding[1]));
}

TEST_F(Reason1TextTest, an_embedding_does_not_depend_on_its_neighbours) {
  const Reason1Text text = encoder();
  const at::Tensor alone = text.encode({"b"}), among = text.encode({"a", "b", "a longer prompt", "b"});
  EXPECT_TRUE(at::equal(alone[0], among[1]));
  EXPECT_TRUE(at::equal(alone[0], among[3]));
  EXPECT_FALSE(at::equal(alone[0], among[0]));
}

TEST_F(Reason1TextTest, both_prefixes_and_unused_parts_of_the_whole_model_load) {
  const at::Tensor embedding = encoder().encode({"a"});
  save("model", {{"lm_head.weight", at::ones({520, 24})}, {"visual.merger.ln_q.weight", at::ones({24})}});
  EXPECT_TRUE(at::equal(encoder().encode({"a"}), embedding));
  test::ScratchFolder other;
  Reason1Net net("model.language_model", qwen_text_config(nlohmann::json::parse(kConfig)));
  net.materialize(at::kCPU, at::kFloat);
  std::map<std::string, at::Tensor> renamed;
  for (const auto& [name, tensor] : open_weights(folder.path())->tensors())
    renamed[name.starts_with("model.") ? "model.language_" + name : "model." + name] = tensor;
  renamed["lm_head.weight"] = renamed.extract("model.lm_head.weight").mapped();
  test::save_shards(other.path(), renamed);
  test::write_file(other / "config.json", kConfig);
  const Reason1Text text(load_reason1(other.path(), at::kFloat, at::kCPU), test::golden() / "tok_toy.json",
                         LayerJoin::full_concat, 150);
  EXPECT_TRUE(at::equal(text.encode({"a"}), embedding));
}

TEST_F(Reason1TextTest, files_that_do_not_fit_are_refused) {
  save("model", {{"model.layers.1.mlp.up_proj.weight", at::Tensor()}});
  EXPECT_THAT(refusal(), HasSubstr("missing: net.model.layers.1.mlp.up_proj.weight"));
  save("model", {{"model.layers.3.input_layernorm.weight", at::ones({24})}});
  EXPECT_THAT(refusal(), HasSubstr("unexpected: model.layers.3.input_layernorm.weight"));
  save("model", {{"model.norm.weight", at::ones({25})}});
  EXPECT_THAT(refusal(), HasSubstr("wrong shape: model.norm.weight"));
  save("transformer", {});
  EXPECT_THAT(refusal(), HasSubstr("missing: net.model.embed_tokens.weight"));
  save("model", {});
  test::write_file(folder / "config.json", "{\"model_type\":\"llama\"}");
  EXPECT_THAT(refusal(), testing::AllOf(HasSubstr("config.json"), HasSubstr("model_type")));
  test::write_file(folder / "config.json", "{");
  EXPECT_THAT(refusal(), testing::AllOf(HasSubstr("config.json"), HasSubstr("is not JSON")));
}

TEST_F(Reason1TextTest, lengths_that_the_network_does_not_know_are_refused) {
  EXPECT_THROW(encoder(LayerJoin::full_concat, 257), Error);
  EXPECT_THROW(encoder(LayerJoin::full_concat, 0), Error);
}

TEST_F(Reason1TextTest, a_tokenizer_with_more_ids_than_the_network_is_refused) {
  auto tokens = nlohmann::json::parse(test::read_file(test::golden() / "tok_toy.json"));
  const test::ScratchFolder other;
  const auto with_last_id = [&](int64_t id) {
    tokens["added_tokens"].back()["id"] = id;
    test::write_file(other / "tokenizer.json", tokens.dump());
    try {
      const Reason1Text text(load_reason1(folder.path(), at::kFloat, at::kCPU), other / "tokenizer.json",
                             LayerJoin::full_concat, 150);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(with_last_id(519), "accepted");
  EXPECT_THAT(with_last_id(520),
              testing::AllOf(HasSubstr("tokenizer.json: ids up to 520"), HasSubstr("the network knows 520")));
}

TEST_F(Reason1TextTest, identity_tells_weights_tokenizer_join_and_length_apart) {
  const std::string identity = encoder().identity();
  EXPECT_EQ(encoder().identity(), identity);
  EXPECT_NE(encoder(LayerJoin::mean_pooling).identity(), identity);
  EXPECT_NE(encoder(LayerJoin::full_concat, 149).identity(), identity);
  EXPECT_EQ(encoder(LayerJoin::mean_pooling).channels(), 24);
  save("model", {{"model.norm.weight", at::ones({24})}});
  EXPECT_NE(encoder().identity(), identity);
}

}  // namespace
}  // namespace orrery
