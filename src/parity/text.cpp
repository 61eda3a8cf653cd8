#include "parity/text.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "model/layer_join.h"
#include "model/qwen_text.h"
#include "model/t5_encoder.h"
#include "ops/activation.h"
#include "parity/derivatives.h"
#include "parity/options.h"
#include "text/chat_template.h"

namespace orrery {
namespace {

// The language model under the keys of the case, and what projects its embedding in the DiT.
struct TextNet final : Module {
  TextNet(const Case& c, const QwenTextConfig& config) : text(this, prefix_of(c), config) {}
  QwenText text;
  std::unique_ptr<Linear> projection;

 private:
  static std::string prefix_of(const Case& c) {  // stands before a dot
    std::string prefix = c.option_or<std::string>("key_prefix", "model.");
    require(!prefix.empty() && prefix.back() == '.', "config option key_prefix is ", prefix,
            ", wanted NAME.");
    prefix.pop_back();
    return prefix;
  }
};

std::unique_ptr<TextNet> text_net(const Case& c, at::Device device) {
  auto net = std::make_unique<TextNet>(c, qwen_text_config(nlohmann::json::parse(c.config.dump())));
  if (c.option_or("crossattn_proj", false)) {
    const at::Tensor weight = c.weight("crossattn_proj.0.weight", device);
    require(weight.dim() == 2, "weights.crossattn_proj.0.weight: shape ", weight.sizes());
    net->projection = std::make_unique<Linear>(net.get(), "crossattn_proj.0", weight.size(1), weight.size(0),
                                               Init::zeros(), /*has_bias=*/true);
  }
  load_weights(*net, c, device);
  return net;
}

at::Tensor ids_of(const Case& c, at::Device device) {
  const at::Tensor ids = c.input("input_ids", at::kCPU);
  require(ids.scalar_type() == at::kLong && ids.dim() == 2, "inputs.input_ids: ", ids.scalar_type(), " ",
          ids.sizes(), ", wanted int64 [B,S]");
  const int64_t vocab = c.count_option("vocab_size");
  require(ids.numel() > 0 && ids.min().item<int64_t>() >= 0 && ids.max().item<int64_t>() < vocab,
          "inputs.input_ids are not from 0 to ", vocab - 1);
  return ids.to(device);
}

// The tokenizer of "qwen2.5" lies in the data folder beside the cases, that of NAME in tok_NAME.json.
std::filesystem::path tokenizer_of(const Case& c) {
  const std::string name = c.option<std::string>("tokenizer");
  if (name == "qwen2.5") return c.file.parent_path() / "../data/qwen2.5/tokenizer.json";
  const std::filesystem::path file = "tok_" + name + ".json";
  require(file == file.filename(), "config option tokenizer is no plain name: ", name);
  return c.file.parent_path() / file;
}

}  // namespace

NamedTensors run_text_prompt_ids(const Case& c, at::Device) {
  const at::Tensor text = c.input("text", at::kCPU).contiguous();
  require(text.scalar_type() == at::kByte && text.dim() == 1, "inputs.text is no list of bytes");
  const std::string_view caption(reinterpret_cast<const char*>(text.const_data_ptr()),
                                 static_cast<size_t>(text.numel()));
  const BpeTokenizer tokenizer(tokenizer_of(c));
  const int64_t pad = c.option<int64_t>("pad_token_id");
  require(c.option<std::string>("system") == kReason1System && pad == tokenizer.added_id(kPadToken),
          "config options system and pad_token_id are not those of the Reason1 text encoder");
  return {{"ids", at::tensor(chat_ids(tokenizer, chat_of(kReason1System, caption),
                                      c.count_option("max_length"), pad),
                             at::kLong)}};
}

NamedTensors run_qwen25_text(const Case& c, at::Device device) {
  const auto net = text_net(c, device);
  const Variables states = net->text.hidden_states(ids_of(c, device));
  NamedTensors results;
  for (size_t i = 0; i < states.size(); ++i) results.emplace(text_of("hidden_states.", i), states[i].value());
  return wanted(c, std::move(results));
}

NamedTensors run_op_mean_normalize(const Case& c, at::Device device) {
  return {{"y", mean_normalize(c.input("h", device))}};
}

NamedTensors run_reason1_embedding(const Case& c, at::Device device) {
  const auto net = text_net(c, device);
  const auto join =
      choice<LayerJoin>(c, "embedding_concat_strategy",
                        {{"full_concat", LayerJoin::full_concat},
                         {"mean_pooling", LayerJoin::mean_pooling},
                         {"pool_every_n_layers_and_concat", LayerJoin::pool_every_n_layers_and_concat}});
  const int64_t group =
      join == LayerJoin::pool_every_n_layers_and_concat ? c.count_option("n_layers_per_group") : 1;
  const at::Tensor embedding = join_layers(net->text.hidden_states(ids_of(c, device)), join, group);
  NamedTensors results{{"embedding", embedding}};
  if (net->projection) {
    const auto project = [&](const at::Tensor& x) {
      return ops::gelu((*net->projection)(Variable(x))).value();
    };
    results["projected"] = project(embedding);
    results["projected_zero"] = project(at::zeros({1, 1, embedding.size(2)}, embedding.options()));
  }
  return wanted(c, std::move(results));
}

NamedTensors run_t5_encoder(const Case& c, at::Device device) {
  T5Encoder net(t5_config(nlohmann::json::parse(c.config.dump())));
  load_weights(net, c, device);
  const at::Tensor ids = ids_of(c, device), mask = c.input("attention_mask", at::kCPU);
  require(mask.sizes() == ids.sizes() && mask.scalar_type() == at::kLong,
          "inputs.attention_mask: ", mask.scalar_type(), " ", mask.sizes(), ", wanted int64 ", ids.sizes());
  // Prompts one by one, without their padding: what is masked has no effect on the rest.
  at::Tensor states =
      at::zeros({ids.size(0), ids.size(1), net.config.d_model}, net.shared.weight.value().options());
  for (int64_t b = 0; b < ids.size(0); ++b) {
    const int64_t length = mask[b].sum().item<int64_t>();
    require(length >= 1 && length <= ids.size(1) && mask[b].slice(0, 0, length).all().item<bool>(),
            "inputs.attention_mask is not 1 up to the end of each prompt and 0 behind it");
    states[b].slice(0, 0, length).copy_(net(ids[b].slice(0, 0, length).unsqueeze(0)).value()[0]);
  }
  return {{"last_hidden_state", states}};
}

}  // namespace orrery
