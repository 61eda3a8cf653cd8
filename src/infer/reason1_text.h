#pragma once
// The text encoder of Cosmos-Predict2.5: Cosmos-Reason1, whose layers' outputs, normalised and joined, are
// the embedding of a prompt. Made by make_text_encoder.h.
#include <filesystem>
#include <mutex>

#include "base/config.h"
#include "model/qwen_text.h"
#include "model/text_encoder.h"
#include "text/bpe_tokenizer.h"

namespace orrery {

// The language model where its weights' file has it. Needs no gradients.
struct Reason1Net final : Module {
  Reason1Net(const std::string& prefix, const QwenTextConfig& config) : text(this, prefix, config) {}
  QwenText text;
};

// From a folder as Hugging Face's hub has them, or a file of any format of ckpt/weight_file.h: sizes from the
// config.json beside the weights, those of Reason1 7B where there is none; keys under model. or
// model.language_model.; lm_head.* and visual.* are passed over. One tensor is in memory at a time besides
// the network. Error, with the lists: a tensor that is missing, left over or misshapen.
std::unique_ptr<Reason1Net> load_reason1(const std::filesystem::path& weights, at::ScalarType type,
                                         at::Device device);

// The embedding (tokens, channels) of a prompt: of the ids of its chat, int64 (tokens), on the network's
// device.
at::Tensor reason1_embedding(const Reason1Net& net, const at::Tensor& ids, LayerJoin join);
int64_t reason1_channels(const Reason1Net& net, LayerJoin join);

class Reason1Text final : public TextEncoder {
 public:
  Reason1Text(std::unique_ptr<Reason1Net> net, const std::filesystem::path& tokenizer, LayerJoin join,
              int64_t tokens);  // tokenizer: a tokenizer.json

  // In the type and on the device of the network. Prompts go through it one by one, so that an embedding does
  // not depend on its neighbours, to the bit.
  at::Tensor encode(const std::vector<std::string>& prompts) const override;
  int64_t tokens() const override { return tokens_; }
  int64_t channels() const override;
  std::string identity() const override;

 private:
  at::Tensor encode_one(const std::string& prompt) const;

  std::unique_ptr<Reason1Net> net_;
  BpeTokenizer tokenizer_;
  std::string tokenizer_digest_;
  LayerJoin join_;
  int64_t tokens_;
  mutable std::once_flag digested_;
  mutable std::string digest_;
};

}  // namespace orrery
