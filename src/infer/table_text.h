#pragma once
// Embeddings that another program made, by prompt. Made by make_text_encoder.h.
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>

#include "ckpt/weight_file.h"
#include "model/text_encoder.h"

namespace orrery {

// From a file of any format of ckpt/weight_file.h whose tensors are named by their prompts (a pickled dict of
// Cosmos-Policy, safetensors, .pt), or from a data set's folder as Cosmos-Predict2 has them,
// DIR/metas/NAME.txt with the prompt and DIR/t5_xxl/NAME.pickle with its embedding. An embedding is [L,C] or
// [1,L,C] of floating-point numbers; what is missing up to `tokens` rows is zero, what is longer is cut.
// Prompts are looked up byte for byte, those of metas/ without surrounding white space.
class TableText final : public TextEncoder {
 public:
  // Error, with path and prompt: nothing there, an embedding of another form or width than its neighbours.
  TableText(const std::filesystem::path& path, int64_t tokens);

  // On the CPU; bfloat16 if all of the table is, else float32. Error: a prompt that is not in the table.
  at::Tensor encode(const std::vector<std::string>& prompts) const override;
  bool holds(const std::vector<std::string>& /*prompts*/) const override { return true; }
  int64_t tokens() const override { return tokens_; }
  int64_t channels() const override { return channels_; }
  std::string identity() const override;

 private:
  struct Place {
    std::shared_ptr<const WeightFile> file;  // null: `path` is opened when it is needed
    std::filesystem::path path;
    std::string name;  // of the tensor
  };
  void read_file();
  void read_folder();
  void check(const WeightEntry& entry, const std::string& prompt);
  at::Tensor rows_of(const std::string& prompt) const;  // (L,C)

  std::filesystem::path path_;
  std::map<std::string, Place> places_;  // by prompt
  int64_t tokens_, channels_ = 0;
  bool is_half_ = true;  // all are bfloat16
  mutable std::once_flag digested_;
  mutable std::string digest_;
};

}  // namespace orrery
