#pragma once
// TorchFile: the tensors of a .pt or .pth file of torch.save (zip or legacy form), or of a plain pickle of
// tensors and numpy arrays. No code of the file runs. Opened through open_weights.
#include "ckpt/torch_contents.h"

namespace orrery {

class MappedFile;

class TorchFile final : public WeightFile {
 public:
  explicit TorchFile(const std::filesystem::path& path);  // maps the file and reads its pickle

  WeightLeaves leaves() const override { return contents_.leaves; }
  std::vector<std::string> damage() const override;
  void release_pages() const override;

 protected:
  at::Tensor read(const std::string& name, RowRange rows) const override;

 private:
  std::shared_ptr<const MappedFile> file_;
  TorchContents contents_;
};

}  // namespace orrery
