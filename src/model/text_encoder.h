#pragma once
// The seam between prompts and the embeddings that the model attends to: the hash stand-in (hash_text.h), the
// released text encoders and tables of embeddings (infer/make_text_encoder.h) stand behind it.
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace orrery {

class TextEncoder {
 public:
  virtual ~TextEncoder() = default;
  // (B, tokens, channels), float32 or bfloat16, on any device. A prompt's embedding does not depend on the
  // others, nor on how often it was made. Records nothing.
  virtual at::Tensor encode(const std::vector<std::string>& prompts) const = 0;
  // Whether the embeddings of these prompts need no network: then encode gives them on the host, and any
  // thread may ask for them while others work.
  virtual bool holds(const std::vector<std::string>& /*prompts*/) const { return false; }
  virtual int64_t tokens() const = 0;
  virtual int64_t channels() const = 0;
  // What its embeddings depend on, in one line: kind, sizes, digests of weights and tokenizer. Encoders of
  // one identity give the same embeddings, up to the order of sums.
  virtual std::string identity() const = 0;
};

}  // namespace orrery
