#pragma once
// TorchWriter: streams a .pt file, a dict of tensors as torch.save writes it, which
// torch.load(weights_only=True) reads; see weight_writer.h.
#include "ckpt/weight_writer.h"

namespace orrery {

class ZipWriter;

class TorchWriter final : public WeightWriter {
 public:
  // Error: a dtype that .pt files cannot hold, a name twice or not UTF-8, and what AtomicFile refuses.
  TorchWriter(const std::filesystem::path& path, std::vector<TensorSpec> specs);
  ~TorchWriter() override;

 protected:
  void append(const TensorSpec& tensor, const at::Tensor& part) override;
  void finish() override;

 private:
  std::unique_ptr<ZipWriter> zip_;
  size_t begun_ = 0;   // entries of tensors
  uint64_t left_ = 0;  // bytes of the current one
};

void save_torch(const std::filesystem::path& path, const std::map<std::string, at::Tensor>& tensors);

}  // namespace orrery
