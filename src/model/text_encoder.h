#pragma once
// The seam between prompts and the embeddings that the model attends to: the hash stand-in (hash_text.h) and
// the released text encoder stand behind it.
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace orrery {

class TextEncoder {
 public:
  virtual ~TextEncoder() = default;
  virtual at::Tensor encode(
      const std::vector<std::string>& prompts) const = 0;  // float32 [B, tokens, channels]
  virtual int64_t tokens() const = 0;
  virtual int64_t channels() const = 0;
};

}  // namespace orrery
