#pragma once
// The text encoder of Cosmos-Predict2 and Cosmos-Policy: T5's last hidden states, with zeros behind the
// prompt's end. Made by make_text_encoder.h.
#include <filesystem>
#include <mutex>

#include "model/t5_encoder.h"
#include "model/text_encoder.h"
#include "text/unigram_tokenizer.h"

namespace orrery {

// From a folder as Hugging Face's hub has them, or a file of any format of ckpt/weight_file.h: sizes from the
// config.json beside the weights, those of T5-11B where there is none; decoder.*, lm_head.* and the encoder's
// copy of shared.weight are passed over. Error, with the lists: a tensor that is missing, left over or
// misshapen.
std::unique_ptr<T5Encoder> load_t5(const std::filesystem::path& weights, at::ScalarType type,
                                   at::Device device);

class T5Text final : public TextEncoder {
 public:
  T5Text(std::unique_ptr<T5Encoder> net, const std::filesystem::path& tokenizer, int64_t tokens);

  // In the type and on the device of the network; prompts one by one, and so without padding inside it.
  at::Tensor encode(const std::vector<std::string>& prompts) const override;
  int64_t tokens() const override { return tokens_; }
  int64_t channels() const override { return net_->config.d_model; }
  std::string identity() const override;

 private:
  std::unique_ptr<T5Encoder> net_;
  UnigramTokenizer tokenizer_;
  std::string tokenizer_digest_;
  int64_t tokens_;
  mutable std::once_flag digested_;
  mutable std::string digest_;
};

}  // namespace orrery
