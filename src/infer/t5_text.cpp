#include "infer/t5_text.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "autograd/tape.h"
#include "base/error.h"
#include "base/memory.h"
#include "ckpt/key_rules.h"
#include "infer/network_files.h"
#include "ops/numeric.h"

namespace orrery {

std::unique_ptr<T5Encoder> load_t5(const std::filesystem::path& path, at::ScalarType type,
                                   at::Device device) {
  const MemoryTag tag(MemoryUse::encoders);
  auto net = std::make_unique<T5Encoder>(network_config(path, t5_config));
  net->materialize(device, type);
  net->set_needs_grad(false);
  load_network(path, *net, {"decoder.", "lm_head.", "encoder.embed_tokens."});
  return net;
}

T5Text::T5Text(std::unique_ptr<T5Encoder> net, const std::filesystem::path& tokenizer, int64_t tokens)
    : net_(std::move(net)),
      tokenizer_(tokenizer),
      tokenizer_digest_(digest_of_file(tokenizer)),
      tokens_(tokens) {
  require(tokens >= 1 && tokens <= 131072, "t5 text: ", tokens, " tokens, wanted 1 to 131072 (text.tokens)");
  require(tokenizer_.num_pieces() <= net_->config.vocab_size, tokenizer.string(), ": ",
          tokenizer_.num_pieces(), " pieces, the network knows ", net_->config.vocab_size,
          " (of another model?)");
}

at::Tensor T5Text::encode(const std::vector<std::string>& prompts) const {
  const NoRecording frozen;
  const at::TensorOptions options = net_->shared.weight.value().options();
  at::Tensor embedding = at::zeros({std::ssize(prompts), tokens_, channels()}, options);
  for (int64_t i = 0; i < std::ssize(prompts); ++i) {
    const std::vector<int64_t> ids = tokenizer_.encode(prompts[static_cast<size_t>(i)], tokens_);
    const at::Tensor on_device = to_device(at::tensor(ids, at::kLong), options.dtype(at::kLong));
    embedding[i].slice(0, 0, std::ssize(ids)).copy_((*net_)(on_device.unsqueeze(0)).value()[0]);
  }
  return embedding;
}

std::string T5Text::identity() const {
  std::call_once(digested_, [this] { digest_ = digest_of_weights(*net_); });
  return text_of("t5 weights ", digest_, " ", net_->shared.weight.variable().dtype(), " tokenizer ",
                 tokenizer_digest_, " tokens ", tokens_);
}

}  // namespace orrery
