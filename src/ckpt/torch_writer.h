#pragma once
// Writer of .pt files: a dict of tensors as torch.save writes it, which torch.load(weights_only=True) reads.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ckpt/tensor_spec.h"

namespace orrery {

class ZipWriter;

// Streams a file whose tensors need not be in memory together.
class TorchWriter {
 public:
  // Announces all tensors in their order. Error: a dtype that .pt files cannot hold, a name twice or not
  // UTF-8, and what AtomicFile refuses.
  TorchWriter(std::filesystem::path path, std::vector<TensorSpec> specs);
  ~TorchWriter();

  // The next tensor, of any strides and on any device; Error unless it is as announced.
  void write(const at::Tensor& tensor);
  void publish();  // once, last: the file appears under its name. Error unless all were written

 private:
  std::filesystem::path path_;
  std::vector<TensorSpec> specs_;
  size_t written_ = 0;
  std::unique_ptr<ZipWriter> zip_;
};

void save_torch(const std::filesystem::path& path, const std::map<std::string, at::Tensor>& tensors);

}  // namespace orrery
