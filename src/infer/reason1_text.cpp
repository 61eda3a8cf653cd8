#include "infer/reason1_text.h"

#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <map>

#include "autograd/tape.h"
#include "base/error.h"
#include "base/memory.h"
#include "ckpt/weight_file.h"
#include "infer/network_files.h"
#include "model/layer_join.h"
#include "ops/numeric.h"
#include "text/chat_template.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kGroup = 5;  // n_layers_per_group of cosmos-predict2.5

}  // namespace

std::unique_ptr<Reason1Net> load_reason1(const fs::path& path, at::ScalarType type, at::Device device) {
  const QwenTextConfig config = network_config(path, qwen_text_config);
  const bool is_nested = open_weights(path)->contains("model.language_model.norm.weight");
  const MemoryTag tag(MemoryUse::encoders);
  auto net = std::make_unique<Reason1Net>(is_nested ? "model.language_model" : "model", config);
  net->materialize(device, type);
  net->set_needs_grad(false);
  load_network(path, *net, {"lm_head.", "visual.", "model.visual."});
  return net;
}

at::Tensor reason1_embedding(const Reason1Net& net, const at::Tensor& ids, LayerJoin join) {
  return join_layers(net.text.hidden_states(ids.unsqueeze(0)), join, kGroup).squeeze(0);
}

int64_t reason1_channels(const Reason1Net& net, LayerJoin join) {
  return net.text.config.hidden_size * num_joined(net.text.config.num_hidden_layers, join, kGroup);
}

Reason1Text::Reason1Text(std::unique_ptr<Reason1Net> net, const fs::path& tokenizer, LayerJoin join,
                         int64_t tokens)
    : net_(std::move(net)),
      tokenizer_(tokenizer),
      tokenizer_digest_(digest_of_file(tokenizer)),
      join_(join),
      tokens_(tokens) {
  const int64_t most = net_->text.config.max_position_embeddings;
  require(tokens >= 1 && tokens <= most, "reason1 text: ", tokens, " tokens, wanted 1 to ", most);
  require(tokenizer_.num_ids() <= net_->text.config.vocab_size, tokenizer.string(), ": ids up to ",
          tokenizer_.num_ids() - 1, ", the network knows ", net_->text.config.vocab_size,
          " (of another model?)");
  tokenizer_.added_id(kPadToken);
}

int64_t Reason1Text::channels() const {
  return reason1_channels(*net_, join_);
}

at::Tensor Reason1Text::encode(const std::vector<std::string>& prompts) const {
  const NoRecording frozen;
  std::map<std::string, at::Tensor> known;
  std::vector<at::Tensor> embeddings;
  for (const std::string& prompt : prompts) {
    at::Tensor& embedding = known[prompt];
    if (!embedding.defined()) embedding = encode_one(prompt);
    embeddings.push_back(embedding);
  }
  require(!embeddings.empty(), "reason1 text: no prompts");
  return at::stack(embeddings);
}

at::Tensor Reason1Text::encode_one(const std::string& prompt) const {
  const std::vector<int64_t> ids =
      chat_ids(tokenizer_, chat_of(kReason1System, prompt), tokens_, tokenizer_.added_id(kPadToken));
  const at::Device device = net_->text.norm.weight.value().device();
  return reason1_embedding(
      *net_, to_device(at::tensor(ids, at::kLong), at::TensorOptions(device).dtype(at::kLong)), join_);
}

std::string Reason1Text::identity() const {
  std::call_once(digested_, [this] { digest_ = digest_of_weights(*net_); });
  return text_of("reason1 weights ", digest_, " ", net_->text.norm.weight.variable().dtype(), " tokenizer ",
                 tokenizer_digest_, " ", name_of(join_), " tokens ", tokens_);
}

}  // namespace orrery
