#include "ckpt/torch_file.h"

#include "base/error.h"
#include "ckpt/mapped_file.h"
#include "ckpt/zip_archive.h"

namespace orrery {

TorchFile::TorchFile(const std::filesystem::path& path) : WeightFile(path), file_(MappedFile::open(path)) {
  try {
    contents_ = read_torch({{file_->data(), file_->size()}, file_});
  } catch (const Error& error) {
    throw Error(text_of(path.string(), ": ", error.what()), error.code(), error.where());
  }
  for (const auto& [name, tensor] : contents_.tensors)
    entries_.emplace(name, WeightEntry{tensor.layout.dtype, tensor.layout.shape});
}

at::Tensor TorchFile::read(const std::string& name, RowRange rows) const {
  return contents_.tensors.at(name).rows(rows);
}

std::vector<std::string> TorchFile::damage() const {
  const std::string_view bytes(file_->data(), file_->size());
  if (!bytes.starts_with("PK")) return {};
  return ZipArchive(bytes).damage([this] { release_pages(); });
}

void TorchFile::release_pages() const {
  file_->release_pages();
}

}  // namespace orrery
